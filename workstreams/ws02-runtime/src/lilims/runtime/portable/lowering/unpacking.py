"""Weights that a graph makes of their codes itself, by ONNX's own ops, as `decompress.py` would, to the last bit.

Knows the ops that this takes. Must not know which op a weight is for, or the constexpr ops' parameters.

    codes (8 bits) → Cast → Sub offset → Mul scale → Reshape        float32, made once: ONNX Runtime folds constants

For files that are to be small. ONNX Runtime folds what has at most 1 GiB; larger weights are not made here.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import onnx

from ..decompress import blocks_of, per_block
from ..program import Array, Constant
from .scope import ONNX_DTYPES, Scope

__all__ = ["unpack_blocks", "unpack_channels"]

_LEAST, _MOST = 1 << 10, 1 << 28  # elements
_CODES = ("int4", "int8", "uint1", "uint2", "uint3", "uint4", "uint6", "uint8")

Unpack = Callable[[Scope], str]
_Sizes = tuple[int, ...]


def unpack_blocks(data: Constant, scale: Constant, offset: Constant | None) -> Unpack | None:
    """`scale * (data - offset)` for each block; None for what is not made in a graph."""
    if not _fits(data):
        return None
    shape, counts = _sizes(data), _sizes(scale)
    blocks, spread = tuple(blocks_of(shape, counts)), tuple(per_block(counts))
    if offset is not None and _sizes(offset) != counts:
        return None
    return lambda scope: _unpack(scope, data, blocks, scale, offset, spread)


def unpack_channels(data: Constant, scale: Constant, zero_point: Constant, axis: int) -> Unpack | None:
    """`scale * (data - zero_point)`, both scalars or vectors along an axis; None for what is not made in a graph."""
    shape, parts = _sizes(data), (_sizes(scale), _sizes(zero_point))
    fits = -len(shape) <= axis < len(shape) and all(part in ((), (1,), (shape[axis],)) for part in parts)
    if not fits or not _fits(data) or parts[0] != parts[1]:
        return None
    along = [1] * len(shape)
    along[axis] = prod(parts[0])
    return lambda scope: _unpack(scope, data, shape, scale, zero_point, tuple(along))


def _fits(data: Constant) -> bool:
    return data.type.dtype in _CODES and _LEAST < prod(_sizes(data)) <= _MOST


def _sizes(constant: Constant) -> _Sizes:
    return tuple(size or 0 for size in constant.type.shape)


def _unpack(
    scope: Scope,
    data: Constant,
    codes: _Sizes,
    scale: Constant,
    offset: Constant | None,
    parts: _Sizes,
) -> str:
    """The weight; its codes shaped as `codes`, its scales and offsets as `parts`, which spread over them."""

    def shaped(constant: Constant, shape: _Sizes, dtype: type[np.generic]) -> str:
        def load() -> Array:
            return constant.load().astype(dtype, copy=False).reshape(shape)

        return scope.later(load, shape, dtype)

    kind = ONNX_DTYPES[data.type.dtype]
    value = scope.emit("Cast", shaped(data, codes, kind), to=onnx.TensorProto.FLOAT)
    if offset is not None:
        value = scope.emit("Sub", value, shaped(offset, parts, np.float32))
    value = scope.emit("Mul", value, shaped(scale, parts, np.float32))
    shape = _sizes(data)
    return value if shape == codes else scope.emit("Reshape", value, scope.array(shape, np.int64))
