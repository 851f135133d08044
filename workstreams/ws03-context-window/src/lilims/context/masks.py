"""Additive attention masks over the rows of the state.

Knows which rows a query may see. Must not know what the rows hold or which layers use a mask.

A query at position p sees the rows r with r <= p, and with a sliding window w only those with r > p - w (as in
transformers' `sliding_window_causal_mask_function`). Padded queries follow the same rule as if they were tokens: each
of them sees at least its own row, so no softmax runs over masked values alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MASK_VALUE", "DecodeMask", "attention_mask"]

MASK_VALUE = -1e4
"""Added to a hidden row's score: finite in fp16, and exp(-10000) is 0."""


def attention_mask(
    slot: int, size: int, rows: int, *, window: int | None = None, mask_value: float = MASK_VALUE
) -> NDArray[np.float32]:
    """The mask of a call that writes `size` tokens to rows `slot`, `slot + 1`, …

    Args:
        slot: the first row written, which is the first query's position.
        size: S, queries in the call, padded ones included.
        rows: R, rows of the state.
        window: how many rows a query sees at most, its own included; None sees all before it.
        mask_value: what hides a row.

    Returns:
        float32 [1, 1, S, R]: 0 where the query sees the row, `mask_value` elsewhere.
    """
    _check(slot, size, rows, window)
    mask = np.full((1, 1, size, rows), mask_value, np.float32)
    query = np.arange(slot, slot + size)[:, None]
    first = 0 if window is None else max(0, slot - window + 1)  # no query sees a row outside first .. slot + size
    row = np.arange(first, slot + size)
    visible = row <= query if window is None else (row <= query) & (row > query - window)
    mask[0, 0, :, first : slot + size][visible] = 0
    return mask


class DecodeMask:
    """The mask of one query, kept up to date as it moves on: a step forward writes one row (two with a window)."""

    def __init__(self, rows: int, *, window: int | None = None, mask_value: float = MASK_VALUE) -> None:
        self._mask = np.full((1, 1, 1, rows), mask_value, np.float32)
        self._line = self._mask[0, 0, 0]
        self._window = window
        self._value = mask_value
        self._slot = -1  # nothing is visible yet

    def at(self, slot: int) -> NDArray[np.float32]:
        """The mask [1, 1, 1, R] of a query at `slot`. The array is reused: it holds until the next call."""
        _check(slot, 1, len(self._line), self._window)
        line, window = self._line, self._window
        if slot == self._slot + 1:
            line[slot] = 0
            if window is not None and slot >= window:
                line[slot - window] = self._value
        elif slot != self._slot:
            line[:] = self._value
            line[0 if window is None else max(0, slot - window + 1) : slot + 1] = 0
        self._slot = slot
        return self._mask


def _check(slot: int, size: int, rows: int, window: int | None) -> None:
    if slot < 0 or size < 1 or slot + size > rows:
        raise ValueError(f"{size} queries at slot {slot} do not fit into {rows} rows")
    if window is not None and window < 1:
        raise ValueError(f"a window of {window} rows would hide a query from itself")
