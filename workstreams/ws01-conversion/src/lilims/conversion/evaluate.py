"""Perplexity of a package, measured on the package itself through its `score` function.

Knows token ids and logits. Must not know how they are computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError, UsageError
from lilims.core.events import emit

__all__ = ["Perplexity", "Scorer", "log_likelihoods", "perplexity"]


class Scorer(Protocol):
    """What is evaluated: `lilims.runtime.Model` is one."""

    @property
    def context(self) -> int:
        """Most tokens of one window."""

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits [n, vocab] of every position of a sequence that starts on an empty state."""


@dataclass(frozen=True)
class Perplexity:
    """exp(mean negative log likelihood) over the tokens that were predicted.

    Attributes:
        value: the perplexity.
        nll: mean negative log likelihood, nats a token.
        error: standard error of `nll`, taking tokens as independent.
        tokens: predicted tokens; the first of each window is only context.
        window: tokens of a window.
    """

    value: float
    nll: float
    error: float
    tokens: int
    window: int


def log_likelihoods(logits: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
    """log p(ids[i + 1] | ids[: i + 1]) in nats, [n - 1], from logits [n, vocab]; computed in float64."""
    wide = logits[:-1].astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    chosen = wide[np.arange(len(wide)), np.asarray(ids[1:])]
    found: NDArray[np.float64] = chosen - np.log(np.exp(wide).sum(axis=1))
    return found


def perplexity(model: Scorer, ids: Sequence[int], *, window: int | None = None) -> Perplexity:
    """Perplexity over `ids`, cut into windows that do not overlap, each on an empty state.

    Args:
        model: what is evaluated.
        ids: token ids of the whole text.
        window: tokens of a window; default is the smaller of the model's context and 512. The rest that does not fill
            a window is left out, as llama.cpp does.

    Raises:
        UsageError: the text is shorter than a window.
        ExecutionError: the logits of a window are not finite.
    """
    size = min(model.context, 512) if window is None else window
    if not 2 <= size <= model.context:
        raise UsageError(f"a window of {size} tokens does not fit the context of {model.context}")
    count = len(ids) // size
    if count == 0:
        raise UsageError(f"the text has {len(ids)} tokens, a window {size}", hint="use a longer text or --window")
    parts = []
    for index in range(count):
        part = ids[index * size : (index + 1) * size]
        found = log_likelihoods(model.logits(part), part)
        if not np.isfinite(found).all():
            raise ExecutionError(f"the logits of window {index} (tokens {index * size}…) are not finite")
        parts.append(found)
        emit("evaluate.window", done=index + 1, total=count, nll=-float(np.concatenate(parts).mean()))
    all_ = np.concatenate(parts)
    nll = -float(all_.mean())
    return Perplexity(math.exp(nll), nll, float(all_.std() / math.sqrt(len(all_))), len(all_), size)
