"""Which of the candidates may be drawn: temperature, top-k, top-p, min-p, typical.

Knows formulas over candidates. Must not know in which order they are applied, nor that a token is drawn.
Of equally likely tokens the lower id is kept, and every filter keeps at least one.
"""

from __future__ import annotations

import math

import numpy as np

from .candidates import Candidates, largest, leading, precise, total_of

__all__ = ["keep_min_p", "keep_top_k", "keep_top_p", "keep_typical", "scale"]


def keep_top_k(found: Candidates, count: int) -> Candidates:
    """The `count` likeliest (Fan et al. 2018, arXiv:1805.04833)."""
    return found if count >= len(found.values) else found.at(largest(found.values, count))


def scale(found: Candidates, temperature: float) -> Candidates:
    """(logits - max) / T: at most 0. Where the division overflows, the largest logit alone remains, as in the limit."""
    values = precise(found.values) - found.values.max()
    least = float(np.finfo(values.dtype).tiny)  # below it a float32 temperature would be 0, and 0 / 0 no number
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        np.divide(values, max(temperature, least), out=values)
    return found._replace(values=values)


def keep_top_p(found: Candidates, mass: float) -> Candidates:
    """The fewest likeliest whose probabilities reach `mass` (the nucleus: Holtzman et al. 2019, arXiv:1904.09751)."""
    return found.at(leading(found.values, found.values, mass * total_of(found.values)))


def keep_min_p(found: Candidates, fraction: float) -> Candidates:
    """Those at least `fraction` times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082)."""
    return found.at(np.flatnonzero(found.values >= found.values.max() + math.log(fraction)))


def keep_typical(found: Candidates, mass: float) -> Candidates:
    """The fewest whose -log p is nearest to the entropy and whose probabilities reach `mass`.

    Locally typical sampling (Meister et al. 2022, arXiv:2202.00666).
    """
    found = found.at(np.flatnonzero(found.values > -np.inf))
    values, total = found.values, total_of(found.values)
    log_shares = values - (float(values.max()) + math.log(total))
    entropy = -float(np.dot(np.exp(log_shares), log_shares))
    nearness = -np.abs(log_shares + entropy)
    return found.at(leading(nearness, values, mass * total))
