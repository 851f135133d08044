"""The commands `lilims run` and `lilims demo`."""
