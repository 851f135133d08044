"""Indices into a table of few values, found by k-means in one dimension.

Knows how rows become tables and indices. Must not know k-means (kmeans.py), nor which tensors are stored so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..stored import Palettized
from .kmeans import KEYS, keys_of, kmeans, thresholds

__all__ = ["palettize"]

_AT_ONCE = 1 << 20  # elements of the tables that are found together


def palettize(
    values: NDArray[np.float32], bits: int, rows: int | None, importance: NDArray[np.float32] | None
) -> Palettized:
    """Stores a matrix [N, K] as indices into tables of 2 ** bits values that fp16 holds.

    A row of zeros stays one: its table then has a 0.

    Args:
        values: within fp16's range.
        bits: 1 to 8.
        rows: rows that share a table, a divisor of N; None is all.
        importance: [K], weight of each input channel's squared errors; None is 1.
    """
    height, width = values.shape
    rows = rows or height
    indices = np.empty(values.shape, np.uint8)
    table = np.empty((height // rows, 1 << bits), np.float16)
    step = max(1, _AT_ONCE // (rows * width))
    for first in range(0, len(table), step):
        part = slice(first * rows, (first + step) * rows)
        keys = keys_of(values[part]).reshape(-1, rows * width)
        weights = None if importance is None else np.tile(importance, rows)
        centres = kmeans(keys, weights, 1 << bits)
        for group in np.flatnonzero(~values[part].any(axis=1)) // rows:
            centres[group, np.abs(centres[group]).argmin()] = 0
        table[first : first + step] = centres
        indices[part] = _nearest(keys, table[first : first + step]).reshape(-1, width)
    return Palettized(indices, table, bits)


def _nearest(keys: NDArray[np.uint16], table: NDArray[np.float16]) -> NDArray[np.uint8]:
    """The index of the table's nearest value for each key, row by row."""
    found = np.empty(keys.shape, np.uint8)
    order = np.arange(table.shape[1], dtype=np.uint8)
    for row, bounds in enumerate(thresholds(table.astype(np.float64))):
        found[row] = np.repeat(order, np.diff(bounds, prepend=0, append=KEYS))[keys[row]]
    return found
