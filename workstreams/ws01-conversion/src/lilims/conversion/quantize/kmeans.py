"""k-means in one dimension, for many small sets or one large one at a time.

Knows Lloyd's algorithm on sorted values. Must not know matrices.

Values are taken as fp16, of which there are 65,536, and written as keys: whole numbers in the same order. A set is
then a sorted list of keys with prefix sums of mass and of mass · value, and one step for all sets costs two binary
searches a centre, whatever the sets' size; a large set becomes a histogram first. At the start centres lie as dense as
a quantiser with many levels would have them, as the cube root of the values' density (Panter and Dite, 1951). No random
number is drawn.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEYS", "keys_of", "kmeans", "thresholds", "values_of"]

KEYS = 1 << 16
_STEPS = 25  # the rest of the way gains less than 0.5 % of the error
_QUANTILES = 512  # by which the density of values is estimated

Keys = NDArray[np.uint16]
Floats = NDArray[np.float64]


def keys_of(values: NDArray[np.float32]) -> Keys:
    """Keys of values, which fp16 must be able to hold."""
    bits = (values + np.float32(0)).astype(np.float16).view(np.uint16)  # + 0: there is one zero
    keys: Keys = np.where(bits & 0x8000, ~bits, bits | 0x8000)
    return keys


@cache
def values_of() -> Floats:
    """The value of each key, ascending. The largest stands for infinities and NaN, which no tensor holds."""
    keys = np.arange(KEYS, dtype=np.uint16)
    bits = np.where(keys & 0x8000, keys & 0x7FFF, ~keys & 0x7FFF)
    sizes = bits.astype(np.uint16).view(np.float16).astype(np.float64)
    sizes = np.where(np.isfinite(sizes), sizes, 65504.0)
    values: Floats = np.where(keys & 0x8000, sizes, -sizes)
    return values


def thresholds(centres: Floats) -> NDArray[np.intp]:
    """For ascending centres [sets, k] the first keys [sets, k - 1] that are nearer to the next centre."""
    return np.searchsorted(values_of(), (centres[:, 1:] + centres[:, :-1]) / 2)


def kmeans(keys: Keys, weights: NDArray[np.float32] | None, count: int) -> Floats:
    """Centres [sets, count], ascending, with a small Σ weight · (value - nearest centre)²: a local optimum.

    Args:
        keys: [sets, n], in any order.
        weights: [n], not negative, the same for each set; None is 1, and so are zeros for all.
        count: centres of a set; where it has fewer distinct values, its largest is repeated.
    """
    if weights is not None and not weights.any():
        weights = None  # no channel matters: all do
    if keys.size > KEYS and len(keys) == 1:
        mass = np.bincount(keys[0], weights, minlength=KEYS).astype(np.float64)
        there = np.flatnonzero(mass)
        keys, mass = there.astype(np.uint16)[None], mass[there][None]
    elif weights is None:
        keys, mass = np.sort(keys, axis=1, kind="stable"), np.ones(keys.shape)  # a radix sort
    else:
        order = np.argsort(keys, axis=1, kind="stable")
        keys, mass = np.take_along_axis(keys, order, axis=1), weights.astype(np.float64)[order]
    return _lloyd(keys, mass, count)


def _lloyd(keys: Keys, mass: Floats, count: int) -> Floats:
    """`kmeans` for sorted keys with a mass each."""
    sets, size = keys.shape
    values = values_of()[keys]
    total, moment = _prefix(mass), _prefix(mass * values)
    centres = _start(values, total, count)
    home = np.arange(sets)[:, None]
    line = (keys + home * KEYS).ravel()  # all sets in one ascending line
    before = np.empty(0, np.intp)
    for _ in range(_STEPS):
        bounds = thresholds(centres)
        if np.array_equal(bounds, before):
            break
        before = bounds
        edges = np.searchsorted(line, bounds + home * KEYS) - home * size
        edges = np.concatenate([np.zeros_like(home), edges, np.full_like(home, size)], axis=1)
        inside = np.diff(np.take_along_axis(total, edges, 1), axis=1)
        sums = np.diff(np.take_along_axis(moment, edges, 1), axis=1)
        centres = np.where(inside > 0, sums / np.where(inside > 0, inside, 1), centres)
    for one in np.flatnonzero(1 + np.count_nonzero(np.diff(keys.astype(np.int32)), axis=1) <= count):
        few = values_of()[np.unique(keys[one])]
        centres[one] = np.concatenate([few, np.repeat(few[-1], count - len(few))])
    return centres


def _prefix(values: Floats) -> Floats:
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _start(values: Floats, total: Floats, count: int) -> Floats:
    """Quantiles of the cube root of density: between two quantiles of mass it goes with their distance^(2/3)."""
    shares = np.linspace(0, 1, min(values.shape[1], _QUANTILES) + 1) * (1 - 1e-9)  # so that none falls on an edge
    wanted = shares * total[:, -1:]
    marks = np.take_along_axis(values, np.clip(_found(total, wanted) - 1, 0, values.shape[1] - 1), 1)
    share = _prefix(np.cbrt(np.square(np.diff(marks, axis=1))))
    middle = (np.arange(count) + 0.5)[None] / count * share[:, -1:]
    place = np.clip(_found(share, middle), 1, share.shape[1] - 1)
    low, high = np.take_along_axis(share, place - 1, 1), np.take_along_axis(share, place, 1)
    part = (middle - low) / np.where(high > low, high - low, 1)
    left, right = np.take_along_axis(marks, place - 1, 1), np.take_along_axis(marks, place, 1)
    start: Floats = left + np.clip(part, 0, 1) * (right - left)
    return start


def _found(ascending: Floats, wanted: Floats) -> NDArray[np.intp]:
    """Row by row, where `wanted` values would stand among ascending ones, as `np.searchsorted` has it."""
    scale = np.maximum(ascending[:, -1:], np.finfo(np.float64).tiny)
    home = 2 * np.arange(len(ascending))[:, None]
    line = (ascending / scale + home).ravel()
    found: NDArray[np.intp] = np.searchsorted(line, wanted / scale + home)
    found -= np.arange(len(ascending))[:, None] * ascending.shape[1]
    return found
