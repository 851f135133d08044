"""Slices: `slice_by_index`, `slice_by_size`, `slice_update`, `crop` and `reverse`.

A bound may be known now or computed at run time, so bounds are handled as vectors that are one or the other (`Vector`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...program import Op
from ..scope import Scope, lowers
from .common import INT_MAX, INT_MIN, Vector, bounded, choose, flags, name_of, unsupported, vector_input


@dataclass(frozen=True)
class Bounds:
    """Where a slice begins and ends in every dimension, and the dimensions it takes one index of."""

    starts: Vector
    ends: Vector
    steps: list[int]
    squeezed: list[int]
    whole: list[bool]  # dimensions taken as they are, told by their masks


def _bounds(scope: Scope, op: Op) -> Bounds:
    rank = scope.type(op, "x").rank
    squeeze = flags(scope, op, "squeeze_mask", rank)
    begin_mask, end_mask = flags(scope, op, "begin_mask", rank), flags(scope, op, "end_mask", rank)
    stride = scope.ints(op, "stride", None) or [1] * rank
    steps = [1 if single else step for step, single in zip(stride, squeeze, strict=True)]
    first = np.array([-1 if step < 0 else 0 for step in steps])
    last = np.array([INT_MIN if step < 0 else INT_MAX for step in steps])
    starts = choose(scope, begin_mask, first, vector_input(scope, op, "begin"))
    ends = choose(scope, end_mask, last, vector_input(scope, op, "end"))
    if any(squeeze):
        ends = choose(scope, squeeze, _one_after(scope, starts), ends)
    whole = [b and e and s == 1 and not q for b, e, s, q in zip(begin_mask, end_mask, steps, squeeze, strict=True)]
    return Bounds(starts, ends, steps, [axis for axis in range(rank) if squeeze[axis]], whole)


def _one_after(scope: Scope, starts: Vector) -> Vector:
    """begin + 1, where -1 + 1 must mean the end and not the beginning."""
    if not isinstance(starts, str):
        return np.where(starts == -1, INT_MAX, np.minimum(starts, INT_MAX - 1) + 1)
    last = scope.emit("Equal", starts, scope.array(-1, "int64"))
    after = scope.emit("Add", starts, scope.array(1, "int64"))
    return scope.emit("Where", last, scope.array(INT_MAX, "int64"), after)


def _slice(scope: Scope, x: str, starts: Vector, ends: Vector, axes: list[int], steps: list[int]) -> str:
    bounds = (name_of(scope, starts), name_of(scope, ends), scope.array(axes, "int64"), scope.array(steps, "int64"))
    return scope.emit("Slice", x, *bounds)


@lowers("slice_by_index")
def slice_by_index(scope: Scope, op: Op) -> None:
    bounds, rank = _bounds(scope, op), scope.type(op, "x").rank
    taken = _slice(scope, scope.input(op, "x"), bounds.starts, bounds.ends, list(range(rank)), bounds.steps)
    if bounds.squeezed:
        taken = scope.emit("Squeeze", taken, scope.array(bounds.squeezed, "int64"))
    scope.bind(op, taken)


@lowers("slice_by_size")
def slice_by_size(scope: Scope, op: Op) -> None:
    """A size of -1 takes what remains; a begin below zero counts from the end."""
    starts, sizes = vector_input(scope, op, "begin"), vector_input(scope, op, "size")
    rank = scope.type(op, "x").rank
    ends: Vector
    if not isinstance(starts, str) and not isinstance(sizes, str):
        ends = starts + sizes
        ends[(sizes == -1) | ((starts < 0) & (ends >= 0))] = INT_MAX
    else:
        begin, size, zero = name_of(scope, starts), name_of(scope, sizes), scope.array(0, "int64")
        total = scope.emit("Add", begin, size)
        wraps = scope.emit("And", scope.emit("Less", begin, zero), scope.emit("GreaterOrEqual", total, zero))
        open_end = scope.emit("Or", wraps, scope.emit("Equal", size, scope.array(-1, "int64")))
        ends = scope.emit("Where", open_end, scope.array(INT_MAX, "int64"), total)
    scope.bind(op, _slice(scope, scope.input(op, "x"), starts, ends, list(range(rank)), [1] * rank))


@lowers("slice_update")
def slice_update(scope: Scope, op: Op) -> None:
    """The update's elements go to the positions start + i · step, which ScatterND takes as a grid of indices.

    Only dimensions up to the last one that is not taken whole are indexed, so a row of a KV cache costs one index.
    """
    bounds, x = _bounds(scope, op), scope.type(op, "x")
    update = scope.input(op, "update")
    sizes = list(scope.type(op, "update").shape)
    for axis in bounds.squeezed:
        sizes.insert(axis, 1)
    if bounds.squeezed:
        update = scope.emit("Unsqueeze", update, scope.array(bounds.squeezed, "int64"))
    whole = [
        all_of_it or (size is not None and size == n and step == 1)
        for all_of_it, size, n, step in zip(bounds.whole, x.shape, sizes, bounds.steps, strict=True)
    ]
    indexed = max((axis + 1 for axis in range(x.rank) if not whole[axis]), default=0)
    if not indexed:
        return scope.bind(op, update)
    counts = [count for count in sizes[:indexed] if count is not None]
    if len(counts) < indexed:
        raise unsupported(scope, op, "an update of flexible size in a dimension that is not updated whole")
    bounded(op, *counts, indexed)
    steps = [np.arange(count, dtype=np.int64) * step for count, step in zip(counts, bounds.steps, strict=False)]
    grid = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)
    if isinstance(bounds.starts, str):
        first = _slice(scope, bounds.starts, np.array([0]), np.array([indexed]), [0], [1])
        indices = scope.emit("Add", scope.array(grid), first)
    else:
        indices = scope.array(grid + bounds.starts[:indexed])
    return scope.bind(op, scope.emit("ScatterND", scope.input(op, "x"), indices, update))


@lowers("reverse")
def reverse(scope: Scope, op: Op) -> None:
    rank = scope.type(op, "x").rank
    axes = scope.ints(op, "axes", None)
    axes = list(range(rank)) if axes is None else sorted({axis % rank for axis in axes})
    x = scope.input(op, "x")
    ends = np.full(len(axes), INT_MIN)
    scope.bind(op, _slice(scope, x, np.full(len(axes), -1), ends, axes, [-1] * len(axes)) if axes else x)


@lowers("crop")
def crop(scope: Scope, op: Op) -> None:
    (top, bottom), (left, right) = scope.ints(op, "crop_height"), scope.ints(op, "crop_width")
    ends = np.array([-bottom or INT_MAX, -right or INT_MAX])
    scope.bind(op, _slice(scope, scope.input(op, "x"), np.array([top, left]), ends, [-2, -1], [1, 1]))
