"""The folder of one device: keys, settings, stores."""
