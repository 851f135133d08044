"""How far numbers are from what they should be.

Knows arrays. Must not know where they come from. All arithmetic is in float64.

    max          max |found - wanted|
    rms_share    √ mean (found - wanted)² / the standard deviation of `wanted`
    top1         share of rows whose largest value stands at the same place
    kl           mean of KL(softmax(wanted) ‖ softmax(found)), nats
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rungs import Finding

__all__ = ["DECODER", "PRODUCT", "differences", "judge", "logit_differences"]

PRODUCT = 0.01
"""The most that one fp16 product may differ, as `rms_share`: fp16 keeps 11 bits, sums of 64 lose a few."""
DECODER = 0.02
"""The most that logits of a small fp16 decoder may differ. One row in the wrong place gives over 0.5."""


def differences(found: NDArray[Any], wanted: NDArray[Any]) -> dict[str, float | int]:
    """`max` and `rms_share`, and over how many values.

    Raises:
        ValueError: the shapes are not the same.
    """
    if found.shape != wanted.shape:
        raise ValueError(f"values of shape {list(found.shape)} where {list(wanted.shape)} should be")
    one, other = found.astype(np.float64), wanted.astype(np.float64)
    error = one - other
    spread = float(other.std()) or 1.0
    return {
        "values": int(other.size),
        "max": float(np.abs(error).max(initial=0.0)),
        "rms_share": float(np.sqrt(np.mean(error**2))) / spread,
    }


def logit_differences(found: NDArray[Any], wanted: NDArray[Any]) -> dict[str, float | int]:
    """The same of logits [n, vocab], with `top1` and `kl`."""
    value = differences(found, wanted)
    logs, wanted_logs = _log_softmax(found), _log_softmax(wanted)
    value["top1"] = float((found.argmax(axis=-1) == wanted.argmax(axis=-1)).mean())
    value["kl"] = float((np.exp(wanted_logs) * (wanted_logs - logs)).sum(axis=-1).mean())
    return value


def judge(figures: dict[str, float | int], bar: float, what: str) -> Finding:
    """Passed where `rms_share` is below the bar; what is not a number is above it."""
    share = figures["rms_share"]
    return Finding(bool(share < bar), f"{what}: RMS difference {share:.3%} (bar {bar:.0%})", figures)


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide
