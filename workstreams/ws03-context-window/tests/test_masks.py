"""Masks against loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.context import Chunk, DecodeMask, StateRows, Visibility, attention_mask, ring_row


def by_loops(chunk: Chunk, held: list[int], reach: int, keep: int, window: int | None, value: float) -> np.ndarray:
    now = list(held)
    for i in range(chunk.size):
        now[chunk.slot + i] = chunk.position + i
    mask = np.full((1, 1, chunk.size, len(held)), value, np.float32)
    for i in range(chunk.size):
        query = chunk.position + i
        for row, position in enumerate(now):
            near = position > query - reach or position < keep
            if 0 <= position <= query and near and (window is None or position > query - window):
                mask[0, 0, i, row] = 0.0
    return mask


def held_up_to(position: int, rows: int, keep: int) -> StateRows:
    held = StateRows(rows)
    for at in range(position):
        held.positions[ring_row(at, rows, keep)] = at
    return held


WINDOWS = st.none() | st.integers(1, 50)
KEEP = st.integers(0, 5)


@given(position=st.integers(0, 90), size=st.integers(1, 12), keep=KEEP, reach=st.integers(1, 40), window=WINDOWS)
def test_a_mask_equals_the_loops(position: int, size: int, keep: int, reach: int, window: int | None) -> None:
    held = held_up_to(position, 60, keep)
    chunk = Chunk(min(ring_row(position, 60, keep), 60 - size), size, size, position)
    mask = attention_mask(chunk, held, Visibility(reach, keep, window), mask_value=-777.0)
    np.testing.assert_array_equal(mask, by_loops(chunk, held.positions.tolist(), reach, keep, window, -777.0))
    assert mask.dtype == np.float32
    assert (mask == 0).any(-1).all()  # each query sees at least its own row


@given(
    moves=st.lists(st.integers(0, 99) | st.just(-1) | st.just(-8), max_size=80),
    keep=KEEP,
    reach=st.integers(1, 30),
    window=WINDOWS,
)
def test_decoding_updates_its_mask_exactly(moves: list[int], keep: int, reach: int, window: int | None) -> None:
    """-1 stands for the next token, -8 for a chunk; anything else goes back to where a rewound session would."""
    held, position = StateRows(40), 0
    mask = DecodeMask(held, Visibility(reach, keep, window))
    for move in moves:
        if 0 <= move < position and move > position - 8:
            held.forget(move)
            position = move
        slot = ring_row(position, 40, keep)
        if move == -8 and slot + 8 <= 40:
            chunk = Chunk(slot, 5, 8, position)
        else:
            chunk = Chunk(slot, 1, 1, position)
            want = by_loops(chunk, held.positions.tolist(), reach, keep, window, -1e4)
            np.testing.assert_array_equal(mask.at(chunk), want, err_msg=f"position {position}")
        held.begin(chunk)
        held.finish(chunk)
        position = chunk.end


def test_the_mask_value_is_finite_in_fp16() -> None:
    mask = attention_mask(Chunk(0, 2, 2), StateRows(4), Visibility(4))
    assert np.isfinite(mask.astype(np.float16)).all()


def test_queries_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 queries at slot 3 do not fit into 4 rows"):
        attention_mask(Chunk(3, 2, 2), StateRows(4), Visibility(4))


@pytest.mark.parametrize(("reach", "window"), [(0, None), (4, 0), (0, 4)])
def test_a_window_of_nothing_is_refused(reach: int, window: int | None) -> None:
    with pytest.raises(ValueError, match="hide a query from itself"):
        Visibility(reach, 0, window)
