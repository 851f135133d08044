"""Tensors from sizes and order, rearranged elements, quantisation of activations; against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lilims.core.errors import UnsupportedError

from .harness import Case, Const, case, check, floats, i32, run

pytestmark = pytest.mark.slow

X = floats(2, 3, 4, seed=1)
INT = np.random.default_rng(0).permutation(24).reshape(2, 3, 4).astype(np.int32) - 9
IMAGE = floats(2, 8, 4, 6, seed=2)
IOS17 = {"opset": "CoreML7"}


def band(x: Any, lower: int, upper: int) -> Any:
    m, n = np.indices(x.shape[-2:])
    keep = ((lower < 0) | (m - n <= lower)) & ((upper < 0) | (n - m <= upper))
    return np.where(keep, x, np.zeros((), x.dtype))


def one_hot(indices: Any, size: int, on: Any, off: Any, axis: int) -> Any:
    hit = indices[..., None] == np.arange(size)
    return np.moveaxis(np.where(hit, on, off), -1, axis)


def top(x: Any, k: int, axis: int, ascending: bool) -> list[Any]:
    order = np.argsort(x if ascending else -x.astype(np.float64), axis, kind="stable")
    order = np.take(order, range(k), axis)
    return [np.take_along_axis(x, order, axis), order.astype(np.int32)]


IDS = i32([[1, 0], [3, -1]])
CREATION = [
    case("fill", "fill", np.full((2, 3), 7, np.float32), shape=Const([2, 3]), value=Const(7.0)),
    case("fill-default", "fill", np.zeros(4, np.float32), shape=Const([4])),
    case("fill-int32", "fill", np.full((2, 3), -7, np.int32), shape=Const([2, 3]), value=Const(-7)),
    case("fill-bool", "fill", np.full(3, True), shape=Const([3]), value=Const(True)),
    case("fill-fp16", "fill", np.full(3, 0.1, np.float16), shape=Const([3]), value=Const(np.float16([0.1])[0])),
    case("fill-at-run-time", "fill", np.full((2, 3), 7, np.float32), shape=i32([2, 3]), value=Const(7.0)),
    case("fill_like", "fill_like", np.full((2, 3, 4), 5, np.int32), ref_tensor=X, value=Const(5)),
    case("range_1d", "range_1d", np.arange(1, 10, 3, np.int32), start=Const(1), end=Const(10), step=Const(3)),
    case("range_1d-float", "range_1d", np.arange(0, 1, 0.25, np.float32), start=Const(0.0), end=Const(1.0),
         step=Const(0.25)),
    case("range_1d-down", "range_1d", i32([5, 3, 1]), start=Const(5), end=Const(0), step=Const(-2)),
    case("range_1d-at-run-time", "range_1d", np.arange(2, 6, dtype=np.int32), start=np.int32(2), end=np.int32(6),
         step=Const(1)),
    case("range_1d-vectors", "range_1d", np.arange(2, 6, dtype=np.int32), start=i32([2]), end=i32([6]),
         step=Const([1])),
    *(case(f"one_hot-{axis}", "one_hot", one_hot(IDS, 4, np.float32(2), np.float32(-1), axis), indices=IDS,
           one_hot_vector_size=Const(4), axis=Const(axis), on_value=Const(2.0), off_value=Const(-1.0))
      for axis in (0, 1, 2, -1, -2)),
    case("one_hot-default", "one_hot", one_hot(IDS, 4, 1, 0, -1).astype(np.int32), indices=IDS,
         one_hot_vector_size=Const(4)),
    case("one_hot-bool", "one_hot", one_hot(IDS, 4, True, False, -1), indices=IDS, one_hot_vector_size=Const(4),
         on_value=Const(True), off_value=Const(False)),
    case("one_hot-size-at-run-time", "one_hot", one_hot(IDS, 5, np.float32(1), np.float32(0), -1), indices=IDS,
         one_hot_vector_size=np.int32(5), on_value=Const(1.0), off_value=Const(0.0)),
    *(case(f"band_part-{low}-{up}", "band_part", band(X, low, up), x=X, lower=Const(low), upper=Const(up))
      for low in (-1, 0, 1) for up in (-1, 0, 2)),
    case("band_part-default", "band_part", X, x=X),
    case("band_part-int32", "band_part", band(INT, 0, -1), x=INT, lower=Const(0), upper=Const(-1)),
    case("band_part-bool", "band_part", band(X > 0, 0, 0), x=X > 0, lower=Const(0), upper=Const(0)),
    case("band_part-drops-infinity", "band_part", np.float32([[1, 0], [1, 1]]), x=np.float32([[1, np.inf], [1, 1]]),
         lower=Const(-1), upper=Const(0)),
    *(case(f"cumsum-{axis}", "cumsum", np.cumsum(X, axis), x=X, axis=Const(axis)) for axis in (0, 1, -1)),
    case("cumsum-default", "cumsum", np.cumsum(X, 0), x=X),
    case("cumsum-int32", "cumsum", np.cumsum(INT, 2).astype(np.int32), x=INT, axis=Const(2)),
    case("cumsum-exclusive", "cumsum", np.cumsum(X, 2) - X, x=X, axis=Const(2), exclusive=Const(True)),
    case("cumsum-reverse", "cumsum", np.cumsum(X[..., ::-1], 2)[..., ::-1], x=X, axis=Const(2), reverse=Const(True)),
    case("cumsum-both", "cumsum", np.cumsum(X[..., ::-1], 2)[..., ::-1] - X, x=X, axis=Const(2), reverse=Const(True),
         exclusive=Const(True)),
    case("non_zero", "non_zero", np.argwhere(INT > 3).astype(np.int32), x=np.where(INT > 3, INT, 0),
         like={"shaped": False}),
    case("non_zero-bool", "non_zero", np.argwhere(X > 0).astype(np.int32), x=X > 0, like={"shaped": False}),
    *(case(f"topk-{axis}-{'up' if up else 'down'}", "topk", top(X, 2, axis, up), x=X, k=Const(2), axis=Const(axis),
           ascending=Const(up)) for axis in (0, 1, -1) for up in (False, True)),
    case("topk-default", "topk", top(X, 1, -1, False), x=X),
    case("topk-int32", "topk", top(INT, 2, 1, False), x=INT, k=Const(2), axis=Const(1)),
    case("topk-ties-in-order", "topk", [np.float32([3, 3]), i32([1, 2])], x=np.float32([1, 3, 3, 3]), k=Const(2)),
    case("topk-values-only", "topk", top(X, 2, -1, False)[0], x=X, k=Const(2), sort=Const(True),
         return_indices=Const(False)),
    case("topk-all", "topk", top(X, 3, 1, True), like=IOS17, x=X, k=Const(-1), axis=Const(1), ascending=Const(True)),
    case("topk-uint16-indices", "topk", [top(X, 2, -1, False)[0], top(X, 2, -1, False)[1].astype(np.uint16)],
         like=IOS17,
         x=X, k=Const(2), output_indices_dtype=Const("uint16")),
    *(case(f"topk-{t.__name__}", "topk", top(abs(INT).astype(t), 2, -1, False), like=IOS17, x=abs(INT).astype(t),
         k=Const(2))
      for t in (np.int8, np.uint8, np.int16, np.uint16)),
    *(case(f"argsort-{axis}-{'up' if up else 'down'}", "argsort",
           np.argsort(X if up else -X, axis, kind="stable").astype(np.int32), x=X, axis=Const(axis),
           ascending=Const(up))
      for axis in (0, 1, -1) for up in (False, True)),
    case("argsort-int32", "argsort", np.argsort(-INT, -1).astype(np.int32), x=INT),
]  # fmt: skip


def depth_to_space(x: Any, b: int) -> Any:
    n, c, h, w = x.shape
    return x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def space_to_depth(x: Any, b: int) -> Any:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


def pixel_shuffle(x: Any, f: int) -> Any:
    n, c, h, w = x.shape
    return x.reshape(n, c // f**2, f, f, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // f**2, h * f, w * f)


def pixel_unshuffle(x: Any, f: int) -> Any:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4).reshape(n, c * f * f, h // f, w // f)


def space_to_batch(x: Any, block: Any, pads: Any) -> Any:
    """TensorFlow's definition, one output image after the other."""
    x = np.pad(x, ((0, 0), (0, 0), *pads))
    return np.concatenate([x[:, :, i :: block[0], j :: block[1]] for i in range(block[0]) for j in range(block[1])])


def batch_to_space(x: Any, block: Any, crops: Any) -> Any:
    n = x.shape[0] // (block[0] * block[1])
    result = np.zeros((n, x.shape[1], x.shape[2] * block[0], x.shape[3] * block[1]), x.dtype)
    for place in range(block[0] * block[1]):
        result[:, :, place // block[1] :: block[0], place % block[1] :: block[1]] = x[place * n : (place + 1) * n]
    (top_, bottom), (left, right) = crops
    return result[:, :, top_ : result.shape[2] - bottom, left : result.shape[3] - right]


def slide(x: Any, axis: int, size: int, stride: int) -> Any:
    starts = range(0, x.shape[axis] - size + 1, stride)
    return np.stack([np.moveaxis(x, axis, 0)[s : s + size] for s in starts]).transpose(
        *_slide_order(x.ndim, axis % x.ndim)
    )


def _slide_order(rank: int, axis: int) -> list[int]:
    others = list(range(2, rank + 1))
    return [*others[:axis], 0, 1, *others[axis:]]


def reverse_sequence(x: Any, lengths: Any, time: int, batch: int) -> Any:
    result = np.moveaxis(x, (batch, time), (0, 1)).copy()
    for row, length in zip(result, lengths, strict=True):
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(result, (0, 1), (batch, time))


BLOCKS, PADS, CROPS = (2, 3), ((0, 0), (1, 2)), ((1, 0), (2, 1))
BATCHES = floats(12, 3, 2, 4, seed=3)
ARRANGE = [
    case("depth_to_space", "depth_to_space", depth_to_space(IMAGE, 2), x=IMAGE, block_size=Const(2)),
    case("space_to_depth", "space_to_depth", space_to_depth(IMAGE, 2), x=IMAGE, block_size=Const(2)),
    case("pixel_shuffle", "pixel_shuffle", pixel_shuffle(IMAGE, 2), x=IMAGE, upscale_factor=Const(2)),
    case("pixel_unshuffle", "pixel_unshuffle", pixel_unshuffle(IMAGE, 2), x=IMAGE,
         downscale_factor=Const(np.uint32(2))),
    case("space_to_batch", "space_to_batch", space_to_batch(IMAGE, BLOCKS, PADS), x=IMAGE,
         block_shape=Const([2, 3]), paddings=Const(PADS)),
    case("batch_to_space", "batch_to_space", batch_to_space(BATCHES, BLOCKS, CROPS), x=BATCHES,
         block_shape=Const([2, 3]), crops=Const(CROPS)),
    *(case(f"sliding_windows-{axis}-{size}-{stride}", "sliding_windows", slide(IMAGE, axis, size, stride), x=IMAGE,
           axis=Const(axis), size=Const(size), stride=Const(stride))
      for axis, size, stride in ((1, 3, 1), (1, 3, 2), (-1, 4, 2), (0, 2, 1), (-2, 3, 2))),
    case("sliding_windows-default-stride", "sliding_windows", slide(IMAGE, 1, 3, 1), x=IMAGE, axis=Const(1),
         size=Const(3)),
    *(case(f"reverse_sequence-{time}-{batch}", "reverse_sequence", reverse_sequence(X, lengths, time, batch), x=X,
           lengths=lengths, seq_axis=Const(time), batch_axis=Const(batch))
      for time, batch, lengths in ((1, 0, i32([2, 3])), (2, 0, i32([4, 0])), (0, 1, i32([1, 2, 0])),
      (2, 1, i32([1, 2, 3])),
                                   (-1, -3, i32([3, 2])))),
    case("reverse_sequence-int8", "reverse_sequence", reverse_sequence(INT.astype(np.int8), [2, 3], 1, 0), like=IOS17,
         x=INT.astype(np.int8), lengths=np.array([2, 3], np.int8), seq_axis=Const(1), batch_axis=Const(0)),
]  # fmt: skip


def quantize(x: Any, scale: Any, zero: Any, dtype: Any) -> Any:
    info = np.iinfo(dtype)
    return np.clip(np.round(x / scale) + zero, info.min, info.max).astype(dtype)


SCALE = np.float32([0.1, 0.2, 0.3])
COLUMN = SCALE[:, None]
ZERO = {t: np.array([1, 5, 3], t) for t in (np.int8, np.uint8)}
CODES = np.arange(24).reshape(2, 3, 4)
QUANTIZATION = []
for t in (np.int8, np.uint8):
    n = t.__name__
    zeros = ZERO[t].astype(np.int32)[:, None]
    codes = (CODES * 10).astype(t)
    QUANTIZATION += [
        case(f"quantize-{n}", "quantize", quantize(X, np.float32(0.02), 3, t), input=X, scale=Const(0.02),
             zero_point=Const(t(3)), output_dtype=Const(n)),
        case(f"quantize-{n}-no-zero-point", "quantize", quantize(X, np.float32(0.01), 0, t), input=X, scale=Const(0.01),
             output_dtype=Const(n)),
        case(f"quantize-{n}-axis", "quantize", quantize(X, COLUMN, zeros, t), input=X, scale=Const(SCALE),
             zero_point=Const(ZERO[t]), axis=Const(1), output_dtype=Const(n)),
        case(f"dequantize-{n}", "dequantize", ((codes.astype(int) - 3) * np.float32(0.02)).astype("f"), input=codes,
             scale=Const(0.02), zero_point=Const(t(3))),
        case(f"dequantize-{n}-axis", "dequantize", ((codes.astype(int) - zeros) * COLUMN).astype("f"), input=codes,
             scale=Const(SCALE), zero_point=Const(ZERO[t]), axis=Const(-2)),
        case(f"dequantize-{n}-no-zero-point", "dequantize", (codes.astype(int) * COLUMN).astype("f"), input=codes,
             scale=Const(SCALE), axis=Const(1)),
    ]  # fmt: skip

CASES = CREATION + ARRANGE + QUANTIZATION
FIXED_ONLY = ("space_to_batch", "batch_to_space")


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_fixed(example: Case) -> None:
    check(example)


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_flexible(example: Case) -> None:
    if example.op in FIXED_ONLY:
        with pytest.raises(UnsupportedError, match="flexible"):
            run(example, flexible=True)
    else:
        check(example, flexible=True)


def test_one_dimension_cannot_be_sequence_and_batch() -> None:
    with pytest.raises(UnsupportedError, match="sequence and batch"):
        run(case("", "reverse_sequence", X, x=X, lengths=i32([1, 1])))
