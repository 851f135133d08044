"""Another context length for a finished model: only shapes change, the weights stay."""
