"""Products against numpy, which multiplies the same int8 activations with the unpacked matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from .helpers import RANGES, quantised, random_matrix, session

TOKENS = [1, 2, 5, 17, 40]


def activations(tokens: int, columns: int) -> NDArray[np.float32]:
    return np.random.default_rng([tokens, columns]).normal(size=(tokens, columns)).astype(np.float32)


def compare(matrix: Any, tokens: int, bias: NDArray[np.float32] | None = None) -> None:
    x = activations(tokens, matrix.codes.shape[1])
    found = session("QuantizedLinear", matrix, bias).run(None, {"x": x})[0]
    expected = quantised(x).astype(np.float64) @ matrix.values.astype(np.float64).T + (0 if bias is None else bias)
    size = np.abs(quantised(x)).astype(np.float64) @ np.abs(matrix.values.astype(np.float64)).T
    assert found.shape == expected.shape
    # One activation in very many rounds the other way where numpy divides and the products multiply.
    assert np.all(np.abs(found - expected) <= 1e-3 * size + 1e-5)
    assert np.median(np.abs(found - expected) / (size + 1e-9)) < 1e-6


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("block", [16, 32, 48, 64, 128, 384])
@pytest.mark.parametrize("dtype", RANGES)
def test_blocks(dtype: str, block: int, tokens: int) -> None:
    compare(random_matrix(dtype, 24, 384, 24, 384 // block), tokens)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("offset", [*RANGES, "fp16", "fp32"])
@pytest.mark.parametrize(("dtype", "block"), [("int4", 32), ("uint4", 16), ("int8", 64), ("uint8", 96)], ids=str)
def test_offsets(dtype: str, block: int, offset: str, tokens: int) -> None:
    compare(random_matrix(dtype, 9, 96 * 2, 9, 192 // block, offset), tokens)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("columns", [2, 18, 32, 40, 100, 130, 200, 500])
@pytest.mark.parametrize("dtype", RANGES)
def test_rows_of_any_length_with_one_scale(dtype: str, columns: int, tokens: int) -> None:
    compare(random_matrix(dtype, 7, columns, 7, 1, "fp16"), tokens)


@pytest.mark.parametrize("columns", [1, 17, 33, 127, 129])
def test_odd_lengths_of_8_bits(columns: int) -> None:
    for tokens in TOKENS:
        compare(random_matrix("int8", 5, columns, 5, 1), tokens)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 16, 63, 1001])
def test_any_number_of_rows(rows: int, tokens: int) -> None:
    bias = np.random.default_rng(rows).normal(size=rows).astype(np.float32)
    compare(random_matrix("int4", rows, 160, rows, 5), tokens, bias)


@pytest.mark.parametrize("tokens", [1, 40])
@pytest.mark.parametrize("groups", [1, 3, 6], ids=str)
def test_rows_that_share_scales(groups: int, tokens: int) -> None:
    compare(random_matrix("int4", 12, 128, groups, 4, "int4"), tokens)


def test_scales_in_float32_and_below_the_normal_numbers() -> None:
    for dtype, factor in ((np.float32, 1.0), (np.float16, 1e-5)):
        matrix = random_matrix("int8", 8, 64, 8, 2)
        matrix.scale = (matrix.scale * factor).astype(dtype)
        compare(matrix, 1)
        compare(matrix, 33)


def test_outer_dimensions_and_no_tokens() -> None:
    matrix = random_matrix("int4", 6, 64, 6, 2)
    run = session("QuantizedLinear", matrix)
    x = activations(6, 64)
    flat = run.run(None, {"x": x})[0]
    assert np.array_equal(run.run(None, {"x": x.reshape(1, 2, 3, 64)})[0], flat.reshape(1, 2, 3, 6))
    assert run.run(None, {"x": x[:0]})[0].shape == (0, 6)


def test_zeros_and_extremes() -> None:
    matrix = random_matrix("int8", 6, 64, 6, 2)
    matrix.codes[:] = -128
    run = session("QuantizedLinear", matrix)
    assert not run.run(None, {"x": np.zeros((1, 64), np.float32)})[0].any()
    for tokens in (1, 40):
        for sign in (1, -1):
            x = np.full((tokens, 64), sign * 3.0, np.float32)
            assert np.allclose(run.run(None, {"x": x})[0], x @ matrix.values.T, rtol=1e-5)


def test_what_is_no_number_stays_none() -> None:
    run = session("QuantizedLinear", random_matrix("int4", 6, 64, 6, 2))
    for tokens in (1, 40):
        x = np.ones((tokens, 64), np.float32)
        x[0, 3] = np.nan
        found = run.run(None, {"x": x})[0]
        assert np.isnan(found[0]).all() and np.isfinite(found[1:]).all()


@pytest.mark.parametrize("tokens", [1, 40])
def test_threads_do_not_change_results(tokens: int) -> None:
    matrix = random_matrix("int4", 2000, 256, 2000, 8)
    x = activations(tokens, 256)
    one, two = (session("QuantizedLinear", matrix, threads=n).run(None, {"x": x})[0] for n in (1, 2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("changed", [{"K": 63}, {"N": 0}, {"blocks": 8}, {"bits": 3}, {"offset_kind": 9}], ids=str)
def test_attributes_that_contradict_the_bytes_are_refused(changed: dict[str, int]) -> None:
    def run() -> None:
        session("QuantizedLinear", random_matrix("int4", 6, 64, 6, 2), **changed).run(None, {"x": activations(1, 64)})

    with pytest.raises(Exception, match="lilims-kernels"):  # ONNX Runtime's exceptions share no base class
        run()


def test_another_length_of_x_is_refused() -> None:
    with pytest.raises(Exception, match="x has another K"):
        session("QuantizedLinear", random_matrix("int4", 6, 64, 6, 2)).run(None, {"x": activations(1, 32)})
