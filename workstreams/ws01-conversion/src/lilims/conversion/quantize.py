"""Weight-only quantisation: float32 tensors to codes and fp16 scales.

Knows arithmetic on one tensor. Must not know checkpoints, roles or Core ML.
The stored form is Core ML's `constexpr_blockwise_shift_scale` without offset: w ≈ code · scale, one fp16 scale for
each block of `group_size` values along the input dimension (the last one).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import QuantizationError

from .stored import Dense, Quantized

__all__ = ["BITS", "GROUP_SIZES", "Scheme", "choose_group", "quantize"]

Scheme = Literal["fp16", "int8", "int4"]
BITS: dict[Scheme, int] = {"int8": 8, "int4": 4}
GROUP_SIZES = (16, 32, 64, 128)
_RANGE = "its values reach beyond 65504, the largest that Core ML's fp16 holds: no scheme can store it"
_ROWS_AT_ONCE = 1 << 22  # elements; bounds the temporary arrays


def choose_group(width: int, wanted: int) -> int:
    """The largest group size of at most `wanted` that divides `width`; `width` (per channel) when none does."""
    return next((g for g in reversed(GROUP_SIZES) if g <= wanted and width % g == 0), width)


def quantize(values: NDArray[np.float32], scheme: Scheme, group_size: int, *, name: str) -> Dense | Quantized:
    """Stores a float32 matrix [N, K] by `scheme`; round to nearest, scales that use the whole range of codes.

    A block's scale is max(max(w) / (2^(b-1) - 1), -min(w) / 2^(b-1)): codes are two's complement, so the negative side
    has one more step, and the scale stays positive. A width that `group_size` does not divide takes the next smaller
    group, or int8 per channel when none divides it.

    Raises:
        QuantizationError: the values do not fit fp16 (dense, or their scales).
    """
    limit = float(np.abs(values).max(initial=0.0))
    if scheme == "fp16":
        if limit > 65504:
            raise QuantizationError(f"a value of {limit:.4g} does not fit fp16", where=name, hint=_RANGE)
        return Dense(values.astype(np.float16))
    rows, width = values.shape
    group = choose_group(width, group_size)
    bits = BITS[scheme] if group in GROUP_SIZES else 8
    if limit / (2 ** (bits - 1) - 1) > 65504:
        raise QuantizationError(f"a value of {limit:.4g} needs a scale beyond fp16", where=name, hint=_RANGE)
    codes = np.empty((rows, width), np.int8)
    scale = np.empty((rows, width // group), np.float16)
    step = max(1, _ROWS_AT_ONCE // width)
    for first in range(0, rows, step):
        part = slice(first, first + step)
        codes[part], scale[part] = _round(values[part].reshape(-1, width // group, group), bits)
    return Quantized(codes, scale, bits)


def _round(blocks: NDArray[np.float32], bits: int) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    top = 2 ** (bits - 1) - 1
    wide = np.maximum(blocks.max(axis=2) / top, -blocks.min(axis=2) / (top + 1))
    scale = wide.astype(np.float16)
    scale[scale == 0] = np.float16(6e-8)  # an all-zero block, or one below fp16's range: its codes are 0
    ratio: NDArray[Any] = blocks / scale.astype(np.float32)[:, :, None]
    codes = np.clip(np.rint(ratio, out=ratio), -top - 1, top, out=ratio).astype(np.int8)
    return codes.reshape(len(blocks), -1), scale
