"""Weight-only quantisation: a float32 tensor and a scheme to the form in which it is stored.

Knows how a tensor is cut into blocks and which arithmetic a scheme takes. Must not know checkpoints, roles or Core ML.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import QuantizationError

from ..stored import Dense, Quantized, Stored
from .palettize import palettize
from .rounding import Blocks, nearest_grid, round_to
from .scheme import GRAMMAR, GROUP_SIZES, Scheme, choose_group, parse_scheme
from .search import searched_grid

__all__ = ["GRAMMAR", "GROUP_SIZES", "Scheme", "check_range", "choose_group", "parse_scheme", "quantize"]

_RANGE = "its values reach beyond 65504, the largest that Core ML's fp16 holds: no scheme can store it"
_AT_ONCE = 1 << 17  # elements: half a megabyte of float32, so that the passes over them stay in the cache
_SHORT = 256  # blocks up to this size lie in columns, where numpy's reductions run over whole rows


def quantize(
    values: NDArray[np.float32], scheme: Scheme, *, name: str, importance: NDArray[np.float32] | None = None
) -> Stored:
    """Stores a float32 tensor by `scheme`, or by what that becomes for its shape (`Scheme.fitted`).

    Args:
        values: a matrix [N, K]; any other shape is stored as fp16.
        scheme: how.
        name: the tensor's, for errors.
        importance: [K], weight of each input channel's squared errors, where scales or tables are searched for.

    Raises:
        QuantizationError: the values do not fit fp16 (as they are, in a table, or their scales).
    """
    taken = scheme.fitted(values.shape)
    check_range(values, taken, name=name)
    if taken.kind == "int":
        return _integers(values, taken, importance)
    if taken.kind == "lut":
        return palettize(values, taken.bits, taken.rows, importance)
    return Dense(values.astype(np.float16))


def check_range(values: NDArray[np.float32], scheme: Scheme, *, name: str) -> None:
    """Raises QuantizationError where values, or their scales, do not fit fp16."""
    limit = float(np.abs(values).max(initial=0.0))
    if scheme.kind == "int" and limit / (2 ** (scheme.bits - 1) - 1) > 65504:
        raise QuantizationError(f"a value of {limit:.4g} needs a scale beyond fp16", where=name, hint=_RANGE)
    if scheme.kind != "int" and limit > 65504:
        raise QuantizationError(f"a value of {limit:.4g} does not fit fp16", where=name, hint=_RANGE)


def _integers(values: NDArray[np.float32], scheme: Scheme, importance: NDArray[np.float32] | None) -> Quantized:
    rows, width = values.shape
    size = scheme.group or width
    codes: NDArray[np.int8] | NDArray[np.uint8] = np.empty((rows, width), np.int8)
    if scheme.asymmetric:
        codes = np.empty((rows, width), np.uint8)
    scale = np.empty((rows, width // size), np.float16)
    offset = np.empty_like(scale) if scheme.asymmetric else None
    step = max(1, _AT_ONCE // width)
    for first in range(0, rows, step):
        part = slice(first, first + step)
        blocks = _blocks(values[part], size)
        grid = nearest_grid(blocks, scheme.bits, asymmetric=scheme.asymmetric)
        if scheme.method in ("search", "awq"):
            grid = searched_grid(blocks, grid, _importance(importance, blocks, values[part]))
        found = round_to(grid, blocks.values, np.empty_like(blocks.values))
        if grid.offset is not None and offset is not None:
            found += grid.offset
            offset[part] = grid.offset.reshape(-1, scale.shape[1])
        found = found.astype(codes.dtype)
        codes[part] = (found.T if blocks.axis == 0 else found).reshape(-1, width)
        scale[part] = grid.scale.reshape(-1, scale.shape[1])
    return Quantized(codes, scale, scheme.bits, offset)


def _blocks(values: NDArray[np.float32], size: int) -> Blocks:
    """Rows as blocks: short ones in columns."""
    blocks = values.reshape(-1, size)
    return Blocks(np.ascontiguousarray(blocks.T), 0) if size <= _SHORT else Blocks(blocks, 1)


def _importance(
    importance: NDArray[np.float32] | None, blocks: Blocks, values: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """The weights of input channels [K] laid out as the blocks of these rows are."""
    if importance is None:
        return None
    size = blocks.values.shape[blocks.axis]
    return _blocks(np.broadcast_to(importance, values.shape), size).values
