"""Quantised products and gathers against the plain graph, which unpacks the matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lilims.runtime.portable.program import Function

from .build import Fn, Runner, literal

RANGES = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}
N, K = 24, 256


def matrix(
    fn: Fn, dtype: str, rows: int, columns: int, groups: tuple[int, int], offset: bool | float = False
) -> tuple[Any, NDArray[np.float32]]:
    """A constexpr of random codes, and its values. Scales are negative too; `offset` as a float is added to each."""
    rng = np.random.default_rng(rows + columns)
    codes = rng.integers(*RANGES[dtype], (rows, columns)).astype(np.int8 if dtype[0] == "i" else np.uint8)
    scale = (rng.normal(size=groups) * 0.05).astype(np.float16)
    shift = rng.integers(*RANGES[dtype], groups)
    given: Any = None
    if offset is True:
        given = literal(shift.astype(codes.dtype), dtype)
    elif offset is not False:
        given = literal((shift + offset).astype(np.float16))
    ref = fn.op(
        "constexpr_blockwise_shift_scale",
        ("fp16", (rows, columns)),
        data=literal(codes, dtype),
        scale=scale,
        offset=given,
    )

    def spread(values: NDArray[Any]) -> NDArray[np.float32]:
        whole = np.repeat(np.repeat(values, rows // groups[0], 0), columns // groups[1], 1)
        return whole.astype(np.float32)

    shifts = np.zeros((rows, columns), np.float32) if given is None else spread(given.load())
    return ref, spread(scale) * (codes.astype(np.float32) - shifts)


def linear(
    dtype: str, groups: tuple[int, int], offset: bool | float, bias: bool, columns: int = K
) -> tuple[Function, Any, Any]:
    fn = Fn()
    x = fn.input("x", "fp32", (2, 3, columns))
    weight, values = matrix(fn, dtype, N, columns, groups, offset)
    b = np.random.default_rng(0).normal(size=N).astype(np.float32) if bias else None
    y = fn.op("linear", ("fp32", (2, 3, N)), x=x, weight=weight, bias=b)
    return fn.function(y), values, 0 if b is None else b


FEED = np.random.default_rng(5).normal(size=(2, 3, K)).astype(np.float32)


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("offset", [False, True], ids=["", "offset"])
@pytest.mark.parametrize("block", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_exact_int4_is_the_plain_product(dtype: str, block: int, offset: bool, bias: bool) -> None:
    function, weight, b = linear(dtype, (N, K // block), offset, bias)
    fused, plain = Runner(function), Runner(function, fused=False)
    assert fused.op_types == ["lilims.quantized_linear"]
    assert "MatMulNBits" in fused.nodes
    assert "MatMulNBits" not in plain.nodes
    found = fused(x=FEED)[0]
    assert np.allclose(found, plain(x=FEED)[0], atol=1e-4)
    assert np.allclose(found, FEED @ weight.T + b, atol=1e-4)


@pytest.mark.parametrize("offset", [False, True], ids=["", "offset"])
@pytest.mark.parametrize(
    ("dtype", "groups"),
    [(d, g) for d in RANGES for g in [(N, 8), (N, 1), (1, 1), (N // 4, 2)]],
    ids=lambda value: str(value),
)
def test_fast_products_are_near(dtype: str, groups: tuple[int, int], offset: bool) -> None:
    """Activations of 8 bits: an error of about 1/127 of a block's largest, which averages out."""
    function, weight, _ = linear(dtype, groups, offset, False)
    fused = Runner(function, "fast")
    assert fused.op_types == ["lilims.quantized_linear"]
    expected = FEED @ weight.T
    error = np.sqrt(np.mean((fused(x=FEED)[0] - expected) ** 2)) / expected.std()
    assert 0 < error < 0.015


@pytest.mark.parametrize("dtype", ["int4", "int8"])
@pytest.mark.parametrize("columns", [17, 40, 48, 100, 200])
def test_rows_that_no_block_divides_are_padded(dtype: str, columns: int) -> None:
    """One scale a row, so the padding's codes meet zeros of the activations."""
    function, _weight, _ = linear(dtype, (N, 1), True, True, columns)
    fused = Runner(function, "fast")
    assert fused.op_types == ["lilims.quantized_linear"]
    x = FEED[..., :columns]
    plain = Runner(function, fused=False)(x=x)[0]
    assert np.sqrt(np.mean((fused(x=x)[0] - plain) ** 2)) / plain.std() < 0.02


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_exact_int8_stays_plain(dtype: str) -> None:
    function, weight, _ = linear(dtype, (N, 8), True, False)
    fused = Runner(function)
    assert "lilims.quantized_linear" not in fused.op_types
    assert np.allclose(fused(x=FEED)[0], FEED @ weight.T, atol=1e-3)


@pytest.mark.parametrize("transpose_y", [True, False])
def test_matmul_with_rows_of_the_matrix(transpose_y: bool) -> None:
    fn = Fn()
    x = fn.input("x", "fp32", (2, 3, K))
    weight, values = matrix(fn, "int4", K, K, (K, 8))
    y = fn.op("matmul", ("fp32", (2, 3, K)), x=x, y=weight, transpose_x=False, transpose_y=transpose_y)
    run = Runner(fn.function(y))
    assert (run.op_types == ["lilims.quantized_linear"]) == transpose_y
    assert np.allclose(run(x=FEED)[0], FEED @ (values.T if transpose_y else values), atol=1e-4)


@pytest.mark.parametrize("offset", [0.5, 0.37, -40.25], ids=str)
@pytest.mark.parametrize("groups", [(N, 16), (N, 8), (N, 1), (N // 4, 2)], ids=str)
@pytest.mark.parametrize("dtype", RANGES)
def test_offsets_that_are_no_codes_leave_a_remainder_for_each_block(
    dtype: str, groups: tuple[int, int], offset: float
) -> None:
    """As GGUF's minima do; -40.25 is outside the codes of 4 bits."""
    function, weight, b = linear(dtype, groups, offset, bias=True)
    expected = FEED @ weight.T + b
    plain = Runner(function, fused=False)(x=FEED)[0]
    for precision in ("exact", "fast"):
        run = Runner(function, precision)
        fused = precision == "fast" or dtype.endswith("4")
        assert (run.op_types == ["lilims.quantized_linear"]) == fused
        assert ("MatMulNBits" in run.nodes) == fused
        off = np.sqrt(np.mean((run(x=FEED)[0] - expected) ** 2)) / expected.std()
        assert off < (1e-5 if precision == "exact" else 0.015)
    assert np.allclose(plain, expected, atol=1e-3)


def test_offsets_that_are_no_codes_stay_plain_where_rows_are_padded() -> None:
    function, weight, _ = linear("uint4", (N, 1), 0.5, bias=False, columns=40)
    run = Runner(function)
    feed = FEED[..., :40]
    assert run.op_types == ["constexpr_blockwise_shift_scale", "linear"]
    assert np.allclose(run(x=feed)[0], feed @ weight.T, atol=1e-4)


def test_offsets_that_are_no_numbers_are_no_codes() -> None:
    function, _, _ = linear("uint4", (N, 8), True, bias=False)
    signalling = literal(np.full((N, 8), 0x7C01, np.uint16).view(np.float16))
    ops = (replace(function.ops[0], inputs={**function.ops[0].inputs, "offset": (signalling,)}), *function.ops[1:])
    assert not np.isfinite(Runner(replace(function, ops=ops), "fast")(x=FEED)[0]).any()


@pytest.mark.parametrize("why", ["block of 8", "rows and columns", "shared by a sum", "fp16"])
def test_what_is_left_alone_is_still_right(why: str) -> None:
    fn = Fn()
    x = fn.input("x", "fp32", (2, 3, K))
    groups = {"block of 8": (N, K // 8)}.get(why, (N, 8))
    weight, values = matrix(fn, "int4", N, K, groups)
    if why == "rows and columns":
        weight = fn.op("add", ("fp16", (N, K)), x=weight, y=np.float32(1))
        values = values + 1
    y = fn.op("linear", ("fp32", (2, 3, N)), x=x, weight=weight)
    if why == "shared by a sum":  # the product is fused, the sum unpacks for itself
        y = fn.op("add", ("fp32", (2, 3, N)), x=y, y=fn.op("reduce_sum", ("fp32", ()), x=weight, keep_dims=False))
    run = Runner(fn.function(y), "fp16" if why == "fp16" else "exact")
    assert ("lilims.quantized_linear" in run.op_types) == (why == "shared by a sum")
    expected = FEED @ values.T + (values.sum() if why == "shared by a sum" else 0)
    assert np.allclose(run(x=FEED)[0], expected, rtol=1e-3, atol=2e-2 if why == "fp16" else 1e-3)


# -- gathers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fast", "exact"])
@pytest.mark.parametrize("offset", [False, True], ids=["", "offset"])
@pytest.mark.parametrize("groups", [(N, 8), (N, 1), (1, 1), (N, 2)], ids=str)
@pytest.mark.parametrize("dtype", RANGES)
def test_gathered_rows_are_exact(dtype: str, groups: tuple[int, int], offset: bool, precision: Any) -> None:
    fn = Fn()
    indices = fn.input("indices", "int32", (2, 3))
    table, values = matrix(fn, dtype, N, K, groups, offset)
    y = fn.op("gather", ("fp16", (2, 3, K)), x=table, indices=indices, axis=0, batch_dims=0, validate_indices=False)
    run = Runner(fn.function(y), precision)
    assert run.op_types == ["lilims.quantized_gather"]
    feed = np.array([[0, 5, N - 1], [5, 5, 1]], np.int32)
    found = run(indices=feed)[0]
    assert np.array_equal(found, Runner(fn.function(y), precision, fused=False)(indices=feed)[0])
    assert np.allclose(found, values[feed], atol=1e-5)


@pytest.mark.parametrize("columns", [24, 100])
def test_gathered_rows_that_no_block_divides(columns: int) -> None:
    fn = Fn()
    indices = fn.input("indices", "int32", (3,))
    table, values = matrix(fn, "int4", N, columns, (N, 1), True)
    run = Runner(fn.function(fn.op("gather", ("fp16", (3, columns)), x=table, indices=indices, axis=0)))
    assert run.op_types == ["lilims.quantized_gather"]
    feed = np.array([3, 0, 7], np.int32)
    assert np.allclose(run(indices=feed)[0], values[feed], atol=1e-5)


def test_a_table_tied_to_the_output() -> None:
    fn = Fn()
    indices = fn.input("indices", "int32", (1, 3))
    table, values = matrix(fn, "uint4", N, K, (N, 8), True)
    hidden = fn.op("gather", ("fp16", (1, 3, K)), x=table, indices=indices, axis=0)
    run = Runner(fn.function(fn.op("linear", ("fp16", (1, 3, N)), x=hidden, weight=table)))
    assert run.op_types == ["lilims.quantized_gather", "lilims.quantized_linear"]
    feed = np.array([[2, 0, 9]], np.int32)
    assert np.allclose(run(indices=feed)[0], values[feed] @ values.T, atol=1e-3)


@pytest.mark.parametrize("axis", [1, -1])
def test_columns_are_gathered_plainly(axis: int) -> None:
    fn = Fn()
    indices = fn.input("indices", "int32", (3,))
    table, values = matrix(fn, "int4", N, K, (N, 8))
    run = Runner(fn.function(fn.op("gather", ("fp16", (N, 3)), x=table, indices=indices, axis=axis)))
    assert "lilims.quantized_gather" not in run.op_types
    feed = np.array([2, 0, 9], np.int32)
    assert np.allclose(run(indices=feed)[0], values[:, feed], atol=1e-5)
