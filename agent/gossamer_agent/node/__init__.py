"""The running agent: the parts of one device put together around the cores."""
