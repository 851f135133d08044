"""Speculative decoding: tokens are guessed, and one call of the model checks several of them.

    model.generate(prompt, drafter=Speculator())

Knows sessions and samplers. Must not know text.
"""

from __future__ import annotations

from .drafts import Draft, ModelDraft, PromptLookup, Proposal
from .pace import Pace
from .speculator import Speculator, verify

__all__ = ["Draft", "ModelDraft", "Pace", "PromptLookup", "Proposal", "Speculator", "verify"]
