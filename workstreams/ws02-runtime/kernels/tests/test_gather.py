"""Rows of a table, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from .helpers import RANGES, random_matrix, session


@pytest.mark.parametrize("offset", [None, *RANGES, "fp16"], ids=str)
@pytest.mark.parametrize("blocks", [1, 2, 12])
@pytest.mark.parametrize("dtype", RANGES)
def test_rows(dtype: str, blocks: int, offset: str | None) -> None:
    matrix = random_matrix(dtype, 10, 96, 10, blocks, offset)
    indices = np.array([[0, 9, -1], [5, 5, 1]], np.int32)
    found = session("QuantizedGather", matrix).run(None, {"x": indices})[0]
    assert np.array_equal(found, matrix.values[indices])


@pytest.mark.parametrize("index", [10, -11])
def test_an_index_that_is_no_row_is_refused(index: int) -> None:
    with pytest.raises(Exception, match="not a row"):
        session("QuantizedGather", random_matrix("int4", 10, 96, 10, 3)).run(None, {"x": np.array([index], np.int32)})
