"""The contents of states: buffers that calls read and write in place, as long as what they hold.

Knows numpy buffers, rows of a cache and what masks hide. Must not know ONNX Runtime or packages.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
import threading
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError, UnsupportedError

from .lowering.dtypes import ONNX_DTYPES
from .plan import Slot
from .program import Array, TensorType

__all__ = ["StateBuffers", "fit_mask", "places_needed"]

_STEP = 256  # places by which a cache grows: sums over them are cut the same way at any length that it divides
_PAGES = 1 << 20  # bytes: larger buffers are pages of their own, which go back to the system when a cache grows
_SLACK = 8  # it grows by at least an eighth, so that a long text is not copied at each step
_HIDDEN = np.float32(-1e4)  # a mask's value that leaves a place no weight: e^-10000 is 0 in float32


class StateBuffers:
    """The contents of a package's states, and the lock that makes calls on them take turns.

    A state that is used as rows only, by functions whose masks say which places they see, has room for the places that
    calls needed so far; the others are zeros. Any other use makes it whole for good. A change that is interrupted loses
    nothing; rows that differ in length then are made alike by the next call.

    Attributes:
        types: the states as the package declares them; fp16 is held as float32.
        version: changes when buffers were replaced.

    Raises:
        ExecutionError: there is not enough memory.
        UnsupportedError: a state has a flexible shape.
    """

    def __init__(self, types: dict[str, TensorType]) -> None:
        self.types = types
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name, tensor in types.items():
            self.shapes[name] = tuple(d for d in tensor.shape if d is not None)
            if len(self.shapes[name]) < tensor.rank:
                raise UnsupportedError(f"the state {name!r} has a flexible shape")
            self._zeros(name, self.shapes[name])  # not touched, so not given yet: refused now if it never can be
        self.version = 0
        self.lock = threading.Lock()
        self._whole: dict[str, NDArray[Any]] = {}
        self._rows: dict[str, tuple[int, list[NDArray[Any]]]] = {}  # axis of the places, one array for each row

    def whole(self, name: str) -> NDArray[Any]:
        """All of a state in one C-contiguous array, which is the state from now on."""
        if name not in self._whole:
            array = self._zeros(name, self.shapes[name])
            for i, row in enumerate(self._rows.get(name, (0, []))[1]):
                array[i : i + 1][tuple(slice(size) for size in row.shape)] = row
            self.version += 1
            self._whole[name] = array
            self._rows.pop(name, None)
        return self._whole[name]

    def reserve(self, name: str, axis: int, places: int) -> int:
        """Makes room for that many places along an axis of a state's rows; gives how many there are then."""
        total = self.shapes[name][axis]
        if name not in self._whole and name not in self._rows:
            self._rows[name] = (axis, [])
        known, rows = self._rows.get(name, (axis, []))
        if name in self._whole or known != axis:
            self.whole(name)
            return total
        held = rows[0].shape[axis] if rows else 0
        unfinished = len(rows) < self.shapes[name][0] or rows[-1].shape[axis] < held
        if held < places or unfinished:
            held = min(total, _rounded(max(places, held if unfinished else held + held // _SLACK)))
            self.version += 1
            for i in range(self.shapes[name][0]):  # one at a time: the old rows are let go as the new ones come
                row = self._zeros(name, self._row_shape(name, axis, held))
                if i < len(rows):
                    row[tuple(slice(size) for size in rows[i].shape)] = rows[i]
                    rows[i] = row
                else:
                    rows.append(row)
        return held

    def part(self, slot: Slot) -> NDArray[Any]:
        """The buffer that a slot names: all of the state, or a row of it as long as it is."""
        if slot.row is None:
            return self.whole(slot.state)
        if slot.state in self._rows and slot.state not in self._whole:
            return self._rows[slot.state][1][slot.row]
        return self.whole(slot.state)[slot.row : slot.row + 1]

    def read(self, name: str, axis: int = 0, count: int | None = None, dtype: Any = None) -> NDArray[Any]:
        """A copy of a state's content, or of its first `count` places along an axis, perhaps as another type."""
        shape = list(self.shapes[name])
        shape[axis] = shape[axis] if count is None else count
        cut = tuple(slice(size) for size in shape)
        if name in self._whole:
            return self._whole[name][cut].astype(dtype or self._whole[name].dtype)
        found = np.zeros(shape, dtype or ONNX_DTYPES[self.types[name].dtype])
        for i, row in enumerate(self._rows.get(name, (0, []))[1][: shape[0]]):
            part = row[(slice(None), *cut[1:])]
            found[i : i + 1][tuple(slice(size) for size in part.shape)] = part
        return found

    def write(self, name: str, axis: int, values: Array) -> None:
        """Writes the first places along an axis; the others keep what they hold."""
        count = values.shape[axis]
        if name in self._whole or self.reserve(name, axis, count) < count or name not in self._rows:
            self.whole(name)[tuple(slice(size) for size in values.shape)] = values
            return
        for i, row in enumerate(self._rows[name][1]):
            part = values[i : i + 1]
            row[tuple(slice(size) for size in part.shape)] = part

    def _row_shape(self, name: str, axis: int, places: int) -> tuple[int, ...]:
        return (1, *(places if i == axis else size for i, size in enumerate(self.shapes[name]) if i))

    def _zeros(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        dtype = np.dtype(ONNX_DTYPES[self.types[name].dtype])
        size = prod(shape) * dtype.itemsize
        try:
            if size < _PAGES:
                return np.zeros(shape, dtype)
            return np.frombuffer(_pages(size), dtype).reshape(shape)
        except (MemoryError, ValueError, OverflowError, OSError) as exc:
            raise ExecutionError(f"no memory for the state {name!r}, {list(shape)}") from exc


def _pages(size: int) -> mmap.mmap:
    """Zeros that belong to this process alone."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def _rounded(places: int) -> int:
    return -(-places // _STEP) * _STEP


def places_needed(count: int, slot: int, masks: list[NDArray[Any]], total: int) -> int:
    """The places that a call of `count` tokens reads and writes.

    They are all that there are, unless its masks hide those behind it for every query.
    """
    need = slot + count
    if not 0 <= slot <= total - count:
        return total
    for mask in masks:
        behind = mask[..., need:]
        if behind.size and behind.max() > _HIDDEN:
            shown = (behind > _HIDDEN).any(axis=tuple(range(mask.ndim - 1)))
            need += int(np.flatnonzero(shown)[-1]) + 1
        if mask[..., :need].max(axis=-1).min() <= _HIDDEN:  # a query that sees nothing spreads over all
            return total
    return need


def fit_mask(mask: NDArray[Any], places: int) -> NDArray[Any]:
    """A mask cut to that many places, or continued with hidden ones."""
    width = mask.shape[-1]
    if width >= places:
        return np.ascontiguousarray(mask[..., :places])
    wider = np.full((*mask.shape[:-1], places), _HIDDEN, mask.dtype)
    wider[..., :width] = mask
    return wider
