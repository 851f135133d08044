"""What logits are worth: figures of single tokens, and their summary.

Knows logits and the tokens that followed. Must not know where either comes from. All arithmetic is in float64.

    nll         −ln p(token), nats
    divergence  KL(reference ‖ model) = Σ p_ref (ln p_ref − ln p), nats
    square      mean of (logit − reference's logit)² over the vocabulary
    same        whether both have the same most likely token

Errors are standard errors of means, tokens taken as independent: std / √(n − 1), as llama.cpp's perplexity tool has
them. That of ln(ppl / ppl_ref) is that of the paired differences, √(s² + s_ref² − 2 cov): both see the same tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bin", "Comparison", "Mean", "Scores", "Summary", "by_position", "score", "summarise"]

Floats = NDArray[np.float64]
BINS = 32  # points of a curve over positions


@dataclass(frozen=True)
class Scores:
    """Figures of tokens, each [n]; those of a comparison are empty where there is no reference."""

    nll: Floats
    reference_nll: Floats
    divergence: Floats
    square: Floats
    same: NDArray[np.bool_]

    @property
    def compared(self) -> bool:
        """Whether there was a reference."""
        return len(self.divergence) == len(self.nll) > 0

    @classmethod
    def joined(cls, parts: Iterable[Scores]) -> Scores:
        """All parts behind each other."""
        every = list(parts)
        return cls(*(np.concatenate([getattr(part, field.name) for part in every]) for field in fields(cls)))


def score(logits: NDArray[np.float32], targets: Sequence[int], reference: NDArray[np.float32] | None = None) -> Scores:
    """Figures of each token.

    Args:
        logits: [n, vocab].
        targets: the n tokens that followed.
        reference: another model's logits at the same places, [n, vocab].
    """
    logs, rows = _log_softmax(logits), np.arange(len(logits))
    none, chosen = np.zeros(0), np.asarray(targets)
    if reference is None:
        return Scores(-logs[rows, chosen], none, none, none, np.zeros(0, bool))
    wanted = _log_softmax(reference)
    return Scores(
        nll=-logs[rows, chosen],
        reference_nll=-wanted[rows, chosen],
        divergence=(np.exp(wanted) * (wanted - logs)).sum(axis=1),
        square=np.square(logits.astype(np.float64) - reference).mean(axis=1),
        same=logits.argmax(axis=1) == reference.argmax(axis=1),
    )


def _log_softmax(logits: NDArray[np.float32]) -> Floats:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return wide


@dataclass(frozen=True)
class Mean:
    """A mean and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Floats) -> Mean:
        """The mean of n values; the error of fewer than two is 0."""
        spread = float(values.std() / math.sqrt(len(values) - 1)) if len(values) > 1 else 0.0
        return cls(float(values.mean()), spread)

    def interval(self) -> tuple[float, float]:
        """95 %: the mean ± 1.96 errors."""
        return self.value - 1.96 * self.error, self.value + 1.96 * self.error


@dataclass(frozen=True)
class Comparison:
    """The distance from a reference on the same tokens.

    Attributes:
        perplexity: the reference's.
        log_ratio: ln(perplexity / the reference's), with the error of the paired differences.
        divergence: mean of KL(reference ‖ model), nats.
        divergence_median, divergence_p99, divergence_max: of single tokens.
        same_top: share of places where both have the same most likely token.
        logits_rms: root of the mean squared difference of logits.
    """

    perplexity: float
    log_ratio: Mean
    divergence: Mean
    divergence_median: float
    divergence_p99: float
    divergence_max: float
    same_top: Mean
    logits_rms: float

    @property
    def change(self) -> float:
        """How much larger the perplexity is, relative: 0.03 is 3 %."""
        return math.expm1(self.log_ratio.value)

    def figures(self) -> dict[str, float]:
        """All of it as plain numbers, by the names that manifests and `--json` have."""
        return {
            "perplexity": self.perplexity,
            "log_ratio": self.log_ratio.value,
            "log_ratio_error": self.log_ratio.error,
            "divergence": self.divergence.value,
            "divergence_error": self.divergence.error,
            "divergence_median": self.divergence_median,
            "divergence_p99": self.divergence_p99,
            "divergence_max": self.divergence_max,
            "same_top": self.same_top.value,
            "logits_rms": self.logits_rms,
        }


@dataclass(frozen=True)
class Summary:
    """What all tokens say together.

    Attributes:
        nll: mean −ln p, nats a token: ln of the perplexity.
        tokens: how many count.
        bytes: of UTF-8 text that these tokens spell; None if there was no text.
        comparison: None without a reference.
    """

    nll: Mean
    tokens: int
    bytes: int | None
    comparison: Comparison | None

    @property
    def perplexity(self) -> float:
        """exp(mean −ln p)."""
        return math.exp(self.nll.value)

    @property
    def bits_per_byte(self) -> float | None:
        """Bits that the model takes for a byte of the text; unlike perplexity it does not depend on the tokenizer."""
        return self.nll.value * self.tokens / math.log(2) / self.bytes if self.bytes else None


def summarise(scores: Scores, size: int | None = None) -> Summary:
    """The summary of tokens that spell `size` bytes."""
    comparison = None
    if scores.compared:
        median, high = np.quantile(scores.divergence, [0.5, 0.99])
        comparison = Comparison(
            perplexity=math.exp(float(scores.reference_nll.mean())),
            log_ratio=Mean.of(scores.nll - scores.reference_nll),
            divergence=Mean.of(scores.divergence),
            divergence_median=float(median),
            divergence_p99=float(high),
            divergence_max=float(scores.divergence.max()),
            same_top=Mean.of(scores.same.astype(np.float64)),
            logits_rms=math.sqrt(float(scores.square.mean())),
        )
    return Summary(Mean.of(scores.nll), len(scores.nll), size, comparison)


@dataclass(frozen=True)
class Bin:
    """Means over tokens whose positions in their windows are from `first` to `last`."""

    first: int
    last: int
    tokens: int
    nll: float
    divergence: float | None


def by_position(scores: Scores, positions: NDArray[np.int64]) -> list[Bin]:
    """The curve over positions in a window: at most 32 points, each over as many positions.

    Args:
        positions: of each token in its window, [n].
    """
    low, high = int(positions.min()), int(positions.max()) + 1
    width = -(-(high - low) // BINS)
    bins = []
    for first in range(low, high, width):
        inside = (positions >= first) & (positions < first + width)
        if inside.any():
            divergence = float(scores.divergence[inside].mean()) if scores.compared else None
            last = min(first + width, high) - 1
            bins.append(Bin(first, last, int(inside.sum()), float(scores.nll[inside].mean()), divergence))
    return bins
