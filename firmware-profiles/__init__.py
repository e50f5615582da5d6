"""Data of the package `gossamer_profiles`: device classes, reference models. Never holds code."""
