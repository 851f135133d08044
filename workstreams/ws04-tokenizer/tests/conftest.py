"""No deadline for single examples: loading a tokenizer falls on the first, and machines that test are busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("lilims", deadline=None)
settings.load_profile("lilims")
