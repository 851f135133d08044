"""What the model thought of a token: the log-softmax of its logits.

Knows one formula. Must not know how tokens are chosen: these are probabilities before penalties, temperature, filters
and constraints, as in OpenAI's API, so they compare between requests whatever these were set to.
"""

from __future__ import annotations

import math

import numpy as np

from .candidates import Values, largest, total_of

__all__ = ["log_probabilities"]


def log_probabilities(logits: Values, token: int, count: int) -> tuple[float, tuple[tuple[int, float], ...]]:
    """The natural logarithm of `token`'s probability, and the `count` likeliest tokens with theirs, likeliest first."""
    total = float(logits.max()) + math.log(total_of(logits))
    top = largest(logits, count) if count else np.zeros(0, np.int64)
    top = top[np.argsort(-logits[top], kind="stable")]
    return float(logits[token]) - total, tuple((int(i), float(logits[i]) - total) for i in top)
