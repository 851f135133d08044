"""The commands `lilims inspect` and `lilims doctor`."""
