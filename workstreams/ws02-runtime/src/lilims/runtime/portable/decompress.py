"""What the `constexpr_*` ops compute, on numpy arrays.

Knows the arithmetic of compressed weights. Must not know ops, graphs or files.
Source: the docstrings of the ops in coremltools, `mil/ops/defs/iOS16/constexpr_ops.py` and `iOS18/compression.py`.

Products are taken in float32 and left there: rounding them to fp16 is the caller's business. Nothing larger than the
result is allocated. Scales that are infinite or no number, as a damaged file has, give such weights and no warning.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import PackageError

from .blob import unpack
from .program import Array

__all__ = [
    "affine_dequantize",
    "blocks_of",
    "blockwise_shift_scale",
    "lut_to_dense",
    "lut_to_dense_packed",
    "lut_to_sparse",
    "per_block",
    "sparse_blockwise_shift_scale",
    "sparse_to_dense",
    "sparse_to_dense_packed",
]

_quietly = np.errstate(over="ignore", invalid="ignore")
_LUT_BITS = {2: 1, 4: 2, 16: 4, 64: 6, 256: 8}


@_quietly
def affine_dequantize(data: Array, scale: Array, zero_point: Array, axis: int) -> NDArray[np.float32]:
    """`scale * (data - zero_point)`; scale and zero point are scalars or vectors along `axis`."""
    _check(-data.ndim <= axis < data.ndim, f"axis {axis} is not one of {data.ndim}")

    def along(values: Array) -> NDArray[np.float32]:
        _check(values.ndim <= 1, "scale and zero_point are scalars or vectors")
        if values.size == 1:
            return values.astype(np.float32).reshape(())
        _check(values.size == data.shape[axis], f"{values.size} values for an axis of {data.shape[axis]}")
        shape = [1] * data.ndim
        shape[axis] = values.size
        return values.astype(np.float32).reshape(shape)

    result = data.astype(np.float32)
    result -= along(zero_point)
    result *= along(scale)
    return result


@_quietly
def blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> NDArray[np.float32]:
    """`scale * (data - offset)`; block sizes are `data.shape / scale.shape`."""
    blocks = blocks_of(data.shape, scale.shape)
    _check(offset is None or offset.shape == scale.shape, "offset and scale differ in shape")
    result = data.astype(np.float32)
    view = result.reshape(blocks)  # (n0, b0, n1, b1, …): a view, so what is done to it is done to the result
    if offset is not None:
        view -= offset.astype(np.float32).reshape(per_block(scale.shape))
    view *= scale.astype(np.float32).reshape(per_block(scale.shape))
    return result


def lut_to_dense(indices: Array, lut: Array, vector_axis: int | None = None) -> Array:
    """Values of the tables that the indices name.

    Args:
        indices: any shape of rank K.
        lut: rank K + 2, (groups along each axis …, palettes, vector size).
        vector_axis: the axis along which the elements of a vector lie; needed when the vector size is not 1.
    """
    rank = indices.ndim
    _check(rank >= 1 and lut.ndim == rank + 2, f"a table of rank {lut.ndim} for indices of rank {rank}")
    groups, (palettes, width) = lut.shape[:rank], lut.shape[rank:]
    blocks = blocks_of(indices.shape, groups)
    _check(not indices.size or int(indices.max()) < palettes, f"an index is not below {palettes}")
    first = np.arange(prod(groups), dtype=np.int32).reshape(per_block(groups)) * np.int32(palettes)
    flat: NDArray[np.int32] = indices.reshape(blocks).astype(np.int32) + first
    if width == 1:
        return lut.reshape(-1)[flat].reshape(indices.shape)
    _check(vector_axis is not None and -rank <= vector_axis < rank, "vector_axis is missing or out of range")
    axis = int(vector_axis or 0) % rank
    values = lut.reshape(-1, width)[flat].reshape(*indices.shape, width)
    shape = [d * width if i == axis else d for i, d in enumerate(indices.shape)]
    return np.moveaxis(values, -1, axis + 1).reshape(shape)


def lut_to_dense_packed(indices: Array, lut: Array, shape: tuple[int, ...]) -> Array:
    """The iOS 16 form: one table, indices packed into bytes from the least significant bit on."""
    _check(lut.ndim == 1 and lut.size in _LUT_BITS, f"a table of {lut.size} values")
    bits = _LUT_BITS[lut.size]
    _check(indices.nbytes == (prod(shape) * bits + 7) // 8, f"{indices.nbytes} bytes of indices for {list(shape)}")
    values: Array = lut[unpack(indices.reshape(-1).view(np.uint8), f"uint{bits}", shape)]
    return values


def sparse_to_dense(nonzero: Array, mask: Array) -> Array:
    """`nonzero` in the places where `mask` is set, zeros elsewhere."""
    count = int(np.count_nonzero(mask))
    _check(nonzero.ndim == 1 and nonzero.size == count, f"{nonzero.size} values for {count} places")
    result: Array = np.zeros(mask.shape, nonzero.dtype)
    result[mask != 0] = nonzero
    return result


def sparse_to_dense_packed(nonzero: Array, mask: Array, shape: tuple[int, ...]) -> Array:
    """The iOS 16 form: the mask is packed into bytes from the least significant bit on."""
    _check(mask.nbytes == (prod(shape) + 7) // 8, f"a mask of {mask.nbytes} bytes for {list(shape)}")
    return sparse_to_dense(nonzero, unpack(mask.reshape(-1).view(np.uint8), "uint1", shape))


def lut_to_sparse(mask: Array, nonzero: Array, lut: Array, vector_axis: int | None = None) -> tuple[Array, Array]:
    """`lut_to_dense` on the set places of a mask: the mask (widened along `vector_axis`) and their values."""
    dense = lut_to_dense(sparse_to_dense(nonzero, mask), lut, vector_axis)
    width = lut.shape[-1]
    wide = mask if width == 1 else np.repeat(mask, width, axis=vector_axis)
    return wide, dense[wide != 0]


def sparse_blockwise_shift_scale(
    mask: Array, nonzero: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    """`blockwise_shift_scale` on the set places of a mask: the mask and their values."""
    return mask, blockwise_shift_scale(sparse_to_dense(nonzero, mask), scale, offset)[mask != 0]


def blocks_of(shape: tuple[int, ...], counts: tuple[int, ...]) -> list[int]:
    """(n0, b0, n1, b1, …) where n is the number of blocks along an axis and b their size."""
    fits = len(shape) == len(counts) and all(n > 0 and d % n == 0 for d, n in zip(shape, counts, strict=True))
    _check(fits, f"{list(counts)} blocks do not divide {list(shape)}")
    return [size for d, n in zip(shape, counts, strict=True) for size in (n, d // n)]


def per_block(counts: tuple[int, ...]) -> list[int]:
    """(n0, 1, n1, 1, …): what goes with `blocks_of`, one value for each block."""
    return [size for n in counts for size in (n, 1)]


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise PackageError(f"compressed weights contradict themselves: {message}")
