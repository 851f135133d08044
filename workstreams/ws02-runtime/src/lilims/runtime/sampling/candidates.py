"""Tokens that may be drawn, and finding the largest of many without sorting all.

Knows arrays. Must not know what a filter is.

Nothing here depends on the order in which a partial sort leaves its elements, nor on the processor: of equal values the
lower id comes first. Up to 4,096 candidates are computed in float64, more of them in the logits' own float32, which is
five times faster: probabilities are then right to 1e-5 of themselves, the likeliest ones to 1e-6.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidates", "Values", "largest", "leading", "precise", "shares_of", "total_of", "weights_of"]

Values = NDArray[np.floating[Any]]

_MANY = 4096
_PIECE = 16384
_FEW = 256


class Candidates(NamedTuple):
    """Tokens in the order of their ids.

    Attributes:
        tokens: int64 [n]; None is all of the vocabulary.
        values: their logits [n]; -inf cannot be drawn.
    """

    tokens: NDArray[np.int64] | None
    values: Values

    @property
    def ids(self) -> NDArray[np.int64]:
        """The tokens, spelled out."""
        return np.arange(len(self.values)) if self.tokens is None else self.tokens

    def at(self, places: NDArray[np.int64]) -> Candidates:
        """Those at the given places, ascending."""
        return Candidates(places if self.tokens is None else self.tokens[places], self.values[places])


def precise(values: Values, *, copy: bool = False) -> Values:
    """Values in the precision that their number allows."""
    if len(values) <= _MANY:
        return np.array(values, np.float64) if copy else np.asarray(values, np.float64)
    wide = values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
    return wide.copy() if copy else wide


def weights_of(values: Values) -> Values:
    """exp(values - max)."""
    below: Values = precise(values) - values.max()
    np.exp(below, out=below)
    return below


def shares_of(values: Values) -> NDArray[np.float64]:
    """The softmax."""
    weights = weights_of(values).astype(np.float64)
    weights /= weights.sum()
    return weights


def total_of(values: Values) -> float:
    """The sum of `weights_of`, piece by piece: a vocabulary's worth of memory is slower to get than to fill."""
    best, wide = values.max(), precise(values)
    pieces = (np.exp(wide[i : i + _PIECE] - best) for i in range(0, len(wide), _PIECE))
    return math.fsum(float(piece.sum(dtype=np.float64)) for piece in pieces)


def largest(values: Values, count: int) -> NDArray[np.int64]:
    """Indices of the `count` largest values in index order; of equal ones the first. O(n).

    The count-th largest of column maxima is a lower bound of the count-th largest value, as so many columns hold one
    that is not below it. What is below the bound is left out before anything is sorted.
    """
    if count >= len(values):
        return np.arange(len(values))
    places: NDArray[np.int64] | None = None
    columns = max(8 * count, 1024)
    if len(values) >= 8 * columns:
        maxima = values[: len(values) // columns * columns].reshape(-1, columns).max(axis=0)
        places = np.flatnonzero(values >= np.partition(maxima, columns - count)[columns - count])
        values = values[places]
    bound = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = np.flatnonzero(values > bound), np.flatnonzero(values == bound)
    found = np.sort(np.concatenate((above, equal[: count - len(above)])))
    return found if places is None else places[found]


def leading(keys: Values, values: Values, mass: float) -> NDArray[np.int64]:
    """Indices, ascending, of the fewest entries of largest key whose weights add up to `mass`; at least one. O(n).

    Looks at the largest few first, as a nucleus is small in nearly every distribution, then at more; where they hold
    too much, at half of them. Only the last few are sorted.

    Args:
        values: logits; the weight of one is exp(value - max), as in `weights_of`.
    """
    best, rest, count = float(values.max()), np.arange(len(keys)), _FEW
    taken: list[NDArray[np.int64]] = []
    while len(rest) > _FEW:
        top = largest(keys[rest] if taken or len(rest) < len(keys) else keys, count)
        held = float(np.exp(values[rest[top]] - best).sum(dtype=np.float64))
        if held >= mass:
            rest = rest[top]
        else:
            taken.append(rest[top])
            rest, mass = np.delete(rest, top), mass - held
        count = min(16 * count, max(len(rest) // 2, 1))
    order = rest[np.argsort(-keys[rest], kind="stable")]
    reached = np.cumsum(np.exp(values[order] - best), dtype=np.float64)
    return np.sort(np.concatenate([*taken, order[: int(np.searchsorted(reached, mass)) + 1]]))
