"""Compressed weights: the arithmetic against loops written from the ops' documentation, then whole packages."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lilims.core.errors import PackageError
from lilims.runtime.portable import MLModel, decompress

from .build import Fn, Runner, literal

RNG = np.random.default_rng(0)


def each(shape: tuple[int, ...]) -> Any:
    return product(*map(range, shape))


def slow_blockwise(data: Any, scale: Any, offset: Any) -> NDArray[np.float64]:
    result = np.zeros(data.shape)
    sizes = [d // s for d, s in zip(data.shape, scale.shape, strict=True)]
    for place in each(data.shape):
        block = tuple(i // size for i, size in zip(place, sizes, strict=True))
        result[place] = float(scale[block]) * (int(data[place]) - (0 if offset is None else float(offset[block])))
    return result


def slow_lut(indices: Any, lut: Any, axis: int) -> NDArray[np.float64]:
    width = lut.shape[-1]
    sizes = [d // g for d, g in zip(indices.shape, lut.shape, strict=False)]
    result = np.zeros([d * width if i == axis else d for i, d in enumerate(indices.shape)])
    for place in each(indices.shape):
        group = tuple(i // size for i, size in zip(place, sizes, strict=True))
        for k in range(width):
            target = tuple(i * width + k if a == axis else i for a, i in enumerate(place))
            result[target] = lut[(*group, indices[place], k)]
    return result


@pytest.mark.parametrize("offset", [None, "codes", "float"])
@pytest.mark.parametrize("groups", [(1, 1), (4, 1), (4, 3), (2, 6), (1, 12)], ids=str)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_blockwise_shift_scale(dtype: Any, groups: tuple[int, int], offset: str | None) -> None:
    info = np.iinfo(dtype)
    data = RNG.integers(info.min, info.max + 1, (4, 12), dtype=dtype)
    scale = RNG.normal(size=groups).astype(np.float16)
    shift = None if offset is None else RNG.integers(-5 if offset == "float" else 0, 5, groups)
    given = None if shift is None else shift.astype(dtype) if offset == "codes" else shift.astype(np.float16) / 2
    found = decompress.blockwise_shift_scale(data, scale, given)
    assert np.allclose(found, slow_blockwise(data, scale, given), rtol=1e-6, atol=1e-6)


NO_NUMBERS = np.array([0x7C00, 0xFC00, 0x7C01, 0x7E00], np.uint16).view(np.float16)  # infinite, signalling, quiet


def test_scales_that_are_no_numbers_give_such_weights_and_no_warning() -> None:
    codes = np.array([[0, 3]] * 4, np.int8)
    expected = [[np.nan, np.inf], [np.nan, -np.inf], [np.nan, np.nan], [np.nan, np.nan]]
    assert np.array_equal(decompress.blockwise_shift_scale(codes, NO_NUMBERS[:, None]), expected, equal_nan=True)
    shifted = decompress.blockwise_shift_scale(codes, NO_NUMBERS[:, None], NO_NUMBERS[:, None])
    assert not np.isfinite(shifted).any()
    zero = np.zeros(4, np.int8)
    assert np.array_equal(decompress.affine_dequantize(codes, NO_NUMBERS, zero, 0), expected, equal_nan=True)


def test_weights_beyond_fp16_are_infinite_where_results_are_rounded() -> None:
    fn = Fn()
    x = fn.input("x", "fp32", (1, 2))
    codes, scale = np.array([[-8, 7]], np.int8), np.full((1, 1), 9000, np.float16)
    weight = fn.op("constexpr_blockwise_shift_scale", ("fp16", (1, 2)), data=literal(codes, "int4"), scale=scale)
    run = Runner(fn.function(fn.op("linear", ("fp32", (1, 1)), x=x, weight=weight)), "fp16")
    assert run(x=np.array([[1, 0.5]], np.float32))[0].item() == -np.inf


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_affine_dequantize(per: str, axis: int) -> None:
    data = RNG.integers(0, 256, (3, 5), dtype=np.uint8)
    size = () if per == "tensor" else (data.shape[axis],)
    scale, zero = RNG.normal(size=size).astype(np.float32), RNG.integers(0, 256, size).astype(np.uint8)
    found = decompress.affine_dequantize(data, np.asarray(scale), np.asarray(zero), axis)
    for place in each(data.shape):
        s, z = (scale, zero) if per == "tensor" else (scale[place[axis]], zero[place[axis]])
        assert found[place] == pytest.approx(float(s) * (int(data[place]) - int(z)), rel=1e-6)


@pytest.mark.parametrize(
    ("groups", "width", "axis"),
    [((1, 1), 1, None), ((2, 1), 1, None), ((1, 3), 1, 0), ((2, 3), 2, 0), ((2, 3), 2, 1), ((1, 1), 4, -1)],
    ids=str,
)
def test_lut_to_dense(groups: tuple[int, int], width: int, axis: int | None) -> None:
    indices = RNG.integers(0, 4, (4, 6), dtype=np.uint8)
    lut = RNG.normal(size=(*groups, 4, width)).astype(np.float16)
    found = decompress.lut_to_dense(indices, lut, axis)
    assert found.dtype == np.float16
    assert np.array_equal(found, slow_lut(indices, lut, (axis or 0) % 2))


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_the_older_tables_are_packed_into_bytes(bits: int) -> None:
    shape = (3, 5)
    indices = RNG.integers(0, 1 << bits, shape)
    number = sum(int(v) << (bits * i) for i, v in enumerate(indices.reshape(-1)))
    packed = np.frombuffer(number.to_bytes((15 * bits + 7) // 8, "little"), np.uint8)
    lut = RNG.normal(size=1 << bits).astype(np.float16)
    assert np.array_equal(decompress.lut_to_dense_packed(packed, lut, shape), lut[indices])


def test_sparse_to_dense() -> None:
    dense = np.array([[0, 1.5, 0], [2, 0, 3]], np.float16)
    nonzero = np.array([1.5, 2, 3], np.float16)
    assert np.array_equal(decompress.sparse_to_dense(nonzero, (dense != 0).astype(np.uint8)), dense)
    assert np.array_equal(decompress.sparse_to_dense_packed(nonzero, np.array([0b101010], np.uint8), (2, 3)), dense)


def test_the_example_of_sparse_shift_scale() -> None:
    """The example in the documentation of constexpr_sparse_blockwise_shift_scale."""
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]], np.uint8)
    nonzero = np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], np.int8)
    scale, offset = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32), np.array([[1, 2, 3, 4]], np.int8)
    same, values = decompress.sparse_blockwise_shift_scale(mask, nonzero, scale, offset)
    assert same is mask
    assert values == pytest.approx([0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4], abs=1e-6)


def test_the_example_of_sparse_vectors() -> None:
    """The vector example in the documentation of constexpr_lut_to_sparse."""
    mask = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]], np.uint8)
    nonzero = np.array([0, 1, 1, 0, 1, 1, 0, 0, 1], np.uint8)
    lut = np.array([[2.0, 2.0], [3.0, 3.0]], np.float16).reshape(1, 1, 2, 2)
    wide, values = decompress.lut_to_sparse(mask, nonzero, lut, 0)
    assert np.array_equal(wide, np.repeat(mask, 2, axis=0))
    dense = decompress.sparse_to_dense(values, wide)
    assert dense[:2, :2].tolist() == [[2, 3], [2, 3]]
    assert dense[6:, 3].tolist() == [3, 3]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: decompress.blockwise_shift_scale(np.zeros((4, 6), np.int8), np.ones((4, 4), np.float16)),
        lambda: decompress.blockwise_shift_scale(np.zeros((4, 6), np.int8), np.ones((0, 1), np.float16)),
        lambda: decompress.blockwise_shift_scale(np.zeros(4, np.int8), np.ones((1, 1), np.float16)),
        lambda: decompress.blockwise_shift_scale(np.zeros((4, 6), np.int8), np.ones((4, 1)), np.ones((1, 1))),
        lambda: decompress.affine_dequantize(np.zeros((4, 6), np.int8), np.ones(4), np.zeros(4), 1),
        lambda: decompress.affine_dequantize(np.zeros((4, 6), np.int8), np.ones(()), np.zeros(()), 2),
        lambda: decompress.lut_to_dense(np.full((2, 2), 9, np.uint8), np.ones((1, 1, 4, 1))),
        lambda: decompress.lut_to_dense(np.zeros((2, 2), np.uint8), np.ones((1, 1, 4, 2))),
        lambda: decompress.lut_to_dense(np.zeros((2, 2), np.uint8), np.ones((4, 1))),
        lambda: decompress.lut_to_dense_packed(np.zeros(9, np.uint8), np.ones(16), (4, 4)),
        lambda: decompress.lut_to_dense_packed(np.zeros(8, np.uint8), np.ones(5), (4, 4)),
        lambda: decompress.sparse_to_dense(np.ones(3), np.ones(2, np.uint8)),
        lambda: decompress.sparse_to_dense_packed(np.ones(1), np.ones(1, np.uint8), (1 << 40, 1 << 40)),
    ],
)
def test_what_contradicts_itself_is_refused(attempt: Callable[[], Any]) -> None:
    with pytest.raises(PackageError, match="compressed weights contradict themselves"):
        attempt()


# -- in programs -------------------------------------------------------------------------------------------------------


def test_constants_may_be_nested_offset_included() -> None:
    """lut -> int8 codes and lut -> int8 offsets -> shift-scale; coremltools' own inference leaves the offset out."""
    fn = Fn()
    x = fn.input("x", "fp32", (1, 4))
    table = np.array([-7, 0, 3, 5], np.int8)
    indices, shift = RNG.integers(0, 4, (2, 4), dtype=np.uint8), np.array([[1], [3]], np.uint8)
    lut = table.reshape(1, 1, 4, 1)
    data = fn.op("constexpr_lut_to_dense", ("int8", (2, 4)), indices=indices, lut=lut)
    offset = fn.op("constexpr_lut_to_dense", ("int8", (2, 1)), indices=shift, lut=lut)
    scale = np.array([[0.5], [2]], np.float32)
    weight = fn.op("constexpr_blockwise_shift_scale", ("fp32", (2, 4)), data=data, scale=scale, offset=offset)
    y = fn.op("linear", ("fp32", (1, 2)), x=x, weight=weight)
    feed = RNG.normal(size=(1, 4)).astype(np.float32)
    expected = feed @ (scale * (table[indices].astype(np.float32) - table[shift])).T
    assert np.allclose(Runner(fn.function(y))(x=feed)[0], expected, atol=1e-5)


def test_sparse_results_feed_each_other() -> None:
    fn = Fn()
    x = fn.input("x", "fp32", (1, 3))
    mask = np.array([[1, 0, 1], [0, 1, 0]], np.uint8)
    lut = np.array([-1, 4], np.int8).reshape(1, 1, 2, 1)
    outputs = (("uint1", (2, 3)), ("int8", (3,)))
    codes = fn.op(
        "constexpr_lut_to_sparse",
        *outputs,
        indices_mask=mask,
        indices_nonzero_data=np.array([1, 0, 1], np.uint8),
        lut=lut,
    )
    outputs = (("uint1", (2, 3)), ("fp32", (3,)))
    scaled = fn.op(
        "constexpr_sparse_blockwise_shift_scale",
        *outputs,
        data_mask=codes[0],
        nonzero_data=codes[1],
        scale=np.array([[2.0], [3.0]], np.float32),
    )
    weight = fn.op("constexpr_sparse_to_dense", ("fp32", (2, 3)), nonzero_data=scaled[1], mask=scaled[0])
    y = fn.op("linear", ("fp32", (1, 2)), x=x, weight=weight)
    expected = np.array([[8.0 * 1 - 2.0 * 3, 12.0 * 2]], np.float32)
    assert np.allclose(Runner(fn.function(y))(x=np.array([[1, 2, 3]], np.float32))[0], expected)


def test_a_result_of_another_shape_is_refused() -> None:
    fn = Fn()
    x = fn.input("x", "fp32", (1, 4))
    weight = fn.op(
        "constexpr_blockwise_shift_scale",
        ("fp32", (2, 4)),
        data=np.zeros((2, 8), np.int8),
        scale=np.ones((2, 1), np.float32),
    )
    y = fn.op("linear", ("fp32", (1, 2)), x=x, weight=weight)
    with pytest.raises(PackageError, match=r"constexpr_blockwise_shift_scale_0: its result is \[2, 8\]"):
        Runner(fn.function(y), fused=False)


def test_fp16_rounds_what_is_decompressed() -> None:
    fn = Fn()
    x = fn.input("x", "fp32", (1, 1))
    scale = np.array([[0.1]], np.float16)
    weight = fn.op("constexpr_blockwise_shift_scale", ("fp16", (1, 1)), data=np.array([[77]], np.int8), scale=scale)
    y = fn.op("cast", ("fp32", (1, 1)), x=weight, dtype="fp32")
    total = fn.op("add", ("fp32", (1, 1)), x=x, y=y)
    zero = np.zeros((1, 1), np.float32)
    exact, rounded = (Runner(fn.function(total), precision)(x=zero)[0].item() for precision in ("exact", "fp16"))
    assert exact == np.float32(77) * np.float32(scale.item())
    assert rounded == float(np.float16(exact)) != exact


def compressed(name: str, mb: Any, types: Any) -> Any:
    """One of the ops that coremltools' Builder makes, [4, 64]."""
    rng = np.random.default_rng(1)
    codes = rng.integers(-8, 8, (4, 64)).astype(types.np_int4_dtype)
    makers: dict[str, Callable[[], Any]] = {
        "iOS16 affine": lambda: mb.constexpr_affine_dequantize(
            quantized_data=rng.integers(-128, 128, (4, 64), dtype=np.int8), scale=rng.random(4, np.float32),
            zero_point=rng.integers(-9, 9, 4).astype(np.int8), axis=0),
        "iOS16 lut": lambda: mb.constexpr_lut_to_dense(
            indices=rng.integers(0, 256, 4 * 64 * 6 // 8).astype(np.uint8), lut=rng.random(64, np.float32),
            shape=np.uint32([4, 64])),
        "iOS16 sparse": lambda: mb.constexpr_sparse_to_dense(
            nonzero_data=np.arange(1, 129, dtype=np.float32), mask=np.full(32, 0b01010101, np.uint8),
            shape=np.uint32([4, 64])),
        "iOS16 cast": lambda: mb.constexpr_cast(
            source_val=rng.normal(size=(4, 64)).astype(np.float16), output_dtype="fp32"),
        "iOS18 int4": lambda: mb.constexpr_blockwise_shift_scale(
            data=codes, scale=rng.random((4, 2), np.float32), offset=codes[:, :2]),
        "iOS18 lut": lambda: mb.constexpr_lut_to_dense(
            indices=rng.integers(0, 8, (4, 64)).astype(types.np_uint3_dtype),
            lut=rng.random((2, 1, 8, 1), np.float32)),
        "iOS18 vector": lambda: mb.constexpr_lut_to_dense(
            indices=rng.integers(0, 64, (4, 16)).astype(types.np_uint6_dtype), vector_axis=1,
            lut=rng.random((1, 1, 64, 4), np.float32)),
        "iOS18 sparse": lambda: mb.constexpr_sparse_to_dense(
            nonzero_data=np.arange(1, 129, dtype=np.float32),
            mask=np.tile([0, 1], 128).reshape(4, 64).astype(types.np_uint1_dtype)),
    }  # fmt: skip
    return makers[name]()


@pytest.mark.parametrize(
    "name",
    [
        "iOS16 affine",
        "iOS16 lut",
        "iOS16 sparse",
        "iOS16 cast",
        "iOS18 int4",
        "iOS18 lut",
        "iOS18 vector",
        "iOS18 sparse",
    ],
)
def test_packages_of_coremltools(ct: Any, mb: Any, save: Callable[..., Path], name: str) -> None:
    """Against the values that coremltools infers for the same op."""
    from coremltools.converters.mil.mil import types

    target, inferred = name.split()[0], []

    @mb.program(input_specs=[mb.TensorSpec((4, 64))], opset_version=getattr(ct.target, target))
    def program(x: Any) -> Any:
        weight = compressed(name, mb, types)
        inferred.append(weight.op.materialized_val_inference())
        return mb.add(x=x, y=weight, name="y")

    x = RNG.normal(size=(4, 64)).astype(np.float32)
    model = MLModel(save(target, main=program), precision="exact")
    assert np.allclose(model.predict({"x": x})["y"], x + inferred[0], atol=1e-6)
