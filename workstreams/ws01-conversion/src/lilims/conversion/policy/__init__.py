"""Which scheme each tensor takes: options, recipes, profiles, and how much input channels matter."""
