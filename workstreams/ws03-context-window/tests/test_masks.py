"""Masks against loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.context import DecodeMask, attention_mask


def by_loops(slot: int, size: int, rows: int, window: int | None, mask_value: float) -> np.ndarray:
    mask = np.full((1, 1, size, rows), mask_value, np.float32)
    for query in range(size):
        for row in range(rows):
            position = slot + query
            if row <= position and (window is None or row > position - window):
                mask[0, 0, query, row] = 0.0
    return mask


WINDOWS = st.none() | st.integers(1, 50)


@given(slot=st.integers(0, 40), size=st.integers(1, 12), spare=st.integers(0, 20), window=WINDOWS)
def test_a_mask_equals_the_loops(slot: int, size: int, spare: int, window: int | None) -> None:
    rows = slot + size + spare
    mask = attention_mask(slot, size, rows, window=window, mask_value=-777.0)
    np.testing.assert_array_equal(mask, by_loops(slot, size, rows, window, -777.0))
    assert mask.dtype == np.float32


@given(slots=st.lists(st.integers(0, 39) | st.just(-1), max_size=60), window=WINDOWS)
def test_decoding_updates_its_mask_exactly(slots: list[int], window: int | None) -> None:
    """-1 stands for the next position; anything else jumps, as a rewound session does."""
    mask, slot = DecodeMask(40, window=window), -1
    for step in slots:
        slot = min(slot + 1, 39) if step < 0 else step
        np.testing.assert_array_equal(mask.at(slot), by_loops(slot, 1, 40, window, -1e4), err_msg=f"slot {slot}")


def test_the_mask_value_is_finite_in_fp16() -> None:
    assert np.isfinite(attention_mask(0, 2, 4).astype(np.float16)).all()


@pytest.mark.parametrize(("slot", "size", "rows"), [(-1, 1, 4), (0, 0, 4), (3, 2, 4)])
def test_queries_that_do_not_fit_are_refused(slot: int, size: int, rows: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        attention_mask(slot, size, rows)


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="hide a query from itself"):
        attention_mask(0, 1, 4, window=0)
