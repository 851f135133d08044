"""Additive attention masks over the rows of the state.

Knows which positions a query may see. Must not know how rows are chosen or which layers use a mask.

A query at position p sees the rows that hold a position q <= p, as far as three bounds let it:

    window  q > p - window           a layer's sliding window, as transformers' `sliding_window_causal_mask_function`
    reach   q > p - reach            what the context policy keeps
    keep    or q < keep              tokens that the policy keeps for ever; a layer's window hides them all the same

Padded queries follow the same rule as if they were tokens: each of them sees at least its own row, so no softmax runs
over masked values alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chunks import Chunk, ring_row
from .rows import StateRows

__all__ = ["MASK_VALUE", "DecodeMask", "Visibility", "attention_mask"]

MASK_VALUE = -1e4
"""Added to a hidden row's score: finite in fp16, and exp(-10000) is 0."""


@dataclass(frozen=True, slots=True)
class Visibility:
    """The bounds of what a query sees.

    Attributes:
        reach: how many positions back, its own included.
        keep: positions below this are seen from anywhere.
        window: a layer's own bound, above the other two; None is none.
    """

    reach: int
    keep: int = 0
    window: int | None = None

    def __post_init__(self) -> None:
        smallest = self.reach if self.window is None else min(self.reach, self.window)
        if smallest < 1:
            raise ValueError(f"a window of {smallest} rows would hide a query from itself")

    def sees(self, query: Any, position: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether queries at `query` see what holds `position`; -1 is never seen. The shapes are broadcast."""
        seen = (position >= 0) & (position <= query) & ((position > query - self.reach) | (position < self.keep))
        return np.asarray(seen if self.window is None else seen & (position > query - self.window))

    def leaving(self, query: int) -> list[int]:
        """The positions that a query does not see, though one a position before it did."""
        far = query - self.reach
        found = [far] if far >= self.keep else []
        if self.window is not None and (self.window <= self.reach or query - self.window < self.keep):
            found.append(query - self.window)
        return [position for position in found if position >= 0]


def attention_mask(
    chunk: Chunk, held: StateRows, visibility: Visibility, *, mask_value: float = MASK_VALUE
) -> NDArray[np.float32]:
    """The mask of a call.

    Args:
        chunk: the tokens that it writes; their rows need not be held yet.
        held: what the rows of the state hold before it.
        mask_value: what hides a row.

    Returns:
        float32 [1, 1, S, R]: 0 where the query sees the row, `mask_value` elsewhere.
    """
    _check(chunk, held)
    query = np.arange(chunk.position, chunk.position + chunk.size)[:, None]
    seen = visibility.sees(query, held.during(chunk))
    return np.where(seen, np.float32(0), np.float32(mask_value))[None, None]


class DecodeMask:
    """The mask of one query, kept up to date as it moves on: a step forward writes one row, or two where one leaves."""

    def __init__(self, held: StateRows, visibility: Visibility, *, mask_value: float = MASK_VALUE) -> None:
        self._mask = np.full((1, 1, 1, len(held)), mask_value, np.float32)
        self._line = self._mask[0, 0, 0]
        self._held = held
        self._visibility = visibility
        self._value = mask_value
        self._made_for = (-1, -1)  # position of the query, and the held rows' changes

    def at(self, chunk: Chunk) -> NDArray[np.float32]:
        """The mask [1, 1, 1, R] of a chunk of one token. The array is reused: it holds until the next call."""
        _check(chunk, self._held)
        line, position, changes = self._line, chunk.position, self._held.changes
        if self._made_for == (position - 1, changes):
            line[chunk.slot] = 0
            for gone in self._visibility.leaving(position):
                line[ring_row(gone, len(line), self._visibility.keep)] = self._value
        elif self._made_for != (position, changes):
            line[:] = attention_mask(chunk, self._held, self._visibility, mask_value=self._value)[0, 0, 0]
        self._made_for = (position, changes)
        return self._mask


def _check(chunk: Chunk, held: StateRows) -> None:
    if chunk.slot + chunk.size > len(held):
        raise ValueError(f"{chunk.size} queries at slot {chunk.slot} do not fit into {len(held)} rows")
