"""Integer codes: scales that use the whole range of codes, and rounding to nearest.

Knows one rule, on an array of blocks. Must not know how blocks are cut from a tensor, or better scales.

    symmetric     w ≈ code · scale              -2^(b-1) ≤ code < 2^(b-1)
    asymmetric    w ≈ (code - offset) · scale          0 ≤ code < 2^b, offset a whole number in that range

A symmetric scale is max(max(w) / (2^(b-1) - 1), -min(w) / 2^(b-1)): codes are two's complement, so the negative side
has one more step, and the scale stays positive. An asymmetric scale is (max(w, 0) - min(w, 0)) / (2^b - 1). Offsets are
whole numbers so that 0 is stored exactly, which zero padding relies on, and because integer kernels take no others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Blocks", "Grid", "nearest_grid", "round_to", "with_smallest"]

_SMALLEST = np.float16(6e-8)  # of an all-zero block, or one below fp16's range: its codes are 0

Floats = NDArray[np.float32]


class Blocks(NamedTuple):
    """Values [k, blocks] or [blocks, k], those of a block along `axis`; scales and offsets have length 1 there."""

    values: Floats
    axis: int


class Grid(NamedTuple):
    """The values that codes can mean: (code - offset) · scale for codes from `low` to `high`, block by block.

    `scale` and `offset` are float32 that fp16 holds exactly; `offset` None is 0.
    """

    scale: Floats
    offset: Floats | None
    low: int
    high: int


def nearest_grid(blocks: Blocks, bits: int, *, asymmetric: bool) -> Grid:
    """The grid that reaches from the smallest to the largest value of each block."""
    top = blocks.values.max(axis=blocks.axis, keepdims=True)
    bottom = blocks.values.min(axis=blocks.axis, keepdims=True)
    half = 1 << (bits - 1)
    if not asymmetric:
        return Grid(with_smallest(np.maximum(top / (half - 1), -bottom / half)), None, -half, half - 1)
    high = 2 * half - 1
    top, bottom = np.maximum(top, 0), np.minimum(bottom, 0)
    scale = with_smallest(top / high - bottom / high)  # not (top - bottom), which may overflow
    return Grid(scale, np.clip(np.rint(-bottom / scale), 0, high), 0, high)


def with_smallest(scale: Floats) -> Floats:
    """Scales as fp16 keeps them, never 0."""
    kept = scale.astype(np.float16)
    kept[kept == 0] = _SMALLEST
    return kept.astype(np.float32)


def round_to(grid: Grid, values: Floats, out: Floats) -> Floats:
    """code - offset of the grid point nearest to each value, as float32 in `out`."""
    np.rint(np.divide(values, grid.scale, out=out), out=out)
    if grid.offset is None:
        return np.clip(out, grid.low, grid.high, out=out)
    out += grid.offset
    np.clip(out, grid.low, grid.high, out=out)
    out -= grid.offset
    return out
