"""The commands of the model manager, `lilims run` and `lilims demo`."""
