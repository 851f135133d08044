"""The commands `lilims convert` and `lilims eval`."""
