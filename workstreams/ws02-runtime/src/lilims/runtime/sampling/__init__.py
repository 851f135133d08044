"""From logits to the next token: greedy, or drawn; with penalties, filters and constraints.

chain.py has the order of the steps, sampler.py says how a token is drawn and why a seed gives the same everywhere.
Knows arrays and random numbers. Must not know tokenizers, models or sessions.
"""

from __future__ import annotations

from .constraint import Constraint
from .parameters import SamplingParameters
from .sampler import Choice, Sampler, probabilities

__all__ = ["Choice", "Constraint", "Sampler", "SamplingParameters", "probabilities"]
