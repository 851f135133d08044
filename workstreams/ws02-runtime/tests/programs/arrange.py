"""Ops that move elements, in NumPy: shapes, slices, joins, gathers and scatters.

Written from coremltools' docstrings. Must not know the executor.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from .maker import ANY, FLOATS, NUMBERS, Maker, Skip, Tensor, known

# -- shapes ------------------------------------------------------------------------------------------------------------


@known("identity")
def identity(m: Maker, op: str) -> None:
    x = m.pick(*ANY, low=0)
    m.result(op, x.array, like=x, exact=True, x=x)


@known("shape")
def shape(m: Maker, op: str) -> None:
    x = m.pick(*NUMBERS)
    m.result(op, np.array(x.shape), like="int32", exact=True, x=x)


@known("transpose")
def transpose(m: Maker, op: str) -> None:
    x = m.pick(*ANY)
    perm = m.order(x.rank)
    given = [axis - x.rank if m.flag() else axis for axis in perm]
    m.result(op, x.array.transpose(perm), like=x, exact=True, x=x, perm=given)


@known("reshape")
def reshape(m: Maker, op: str) -> None:
    """One size may be -1; 0 stands for x's size at that place."""
    x = m.pick(*ANY)
    rest, target = x.array.size, []
    for _ in range(m.integer(0, 3)):
        size = m.choice([n for n in (1, 2, 3, 4, 5, 6, 10, 15) if rest % n == 0])
        target.append(size)
        rest //= size
    target.insert(m.integer(0, len(target)), rest)
    given = list(target)
    if len(target) == x.rank and m.flag():
        given = [0 if a == b and m.flag() else a for a, b in zip(target, x.shape, strict=True)]
    if m.flag():
        given[m.integer(0, len(given) - 1)] = -1
    m.result(op, x.array.reshape(target), like=x, exact=True, x=x, shape=m.parameter(given))


@known("expand_dims")
def expand_dims(m: Maker, op: str) -> None:
    x = m.pick(*ANY, low=0, high=4)
    axes = m.axes(x.rank + m.integer(1, 5 - x.rank))
    rank = x.rank + len(axes)
    if any(not -rank <= axis < rank for axis in axes) or len({axis % rank for axis in axes}) < len(axes):
        raise Skip
    m.result(op, np.expand_dims(x.array, tuple(axes)), like=x, exact=True, x=x, axes=axes)


@known("squeeze")
def squeeze(m: Maker, op: str) -> None:
    """Sizes other than 1 are left alone."""
    x = m.pick(*ANY, low=1, where=lambda a: 1 in a.shape and a.size > 1)
    axes = m.axes(x.rank) if m.flag() else None
    asked = range(x.rank) if axes is None else [axis % x.rank for axis in axes]
    found = x.array.squeeze(tuple(axis for axis in asked if x.shape[axis] == 1))
    m.result(op, found, like=x, exact=True, x=x, axes=axes)


@known("flatten2d")
def flatten2d(m: Maker, op: str) -> None:
    x = m.pick(*FLOATS, low=1)
    axis = m.axis(x.rank)
    m.result(op, x.array.reshape(prod(x.shape[: axis % x.rank]), -1), like=x, exact=True, x=x, axis=axis)


@known("depth_to_space", "pixel_shuffle", "space_to_depth", "pixel_unshuffle")
def blocks(m: Maker, op: str) -> None:
    """A block's elements go from the channels into space or back; the kinds differ in the channels' order."""
    if op == "pixel_unshuffle" and m.year < 16:
        raise Skip
    n, c, h, w, b = m.integer(1, 2), m.integer(1, 3), m.integer(1, 3), m.integer(1, 2), m.choice((2, 3))
    spread = op in ("depth_to_space", "pixel_shuffle")
    x = m.new((n, c * b * b, h, w) if spread else (n, c, h * b, w * b), FLOATS)
    if op == "depth_to_space":
        found = x.array.reshape(n, b, b, c, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c, h * b, w * b)
    elif op == "pixel_shuffle":
        found = x.array.reshape(n, c, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c, h * b, w * b)
    else:
        apart = x.array.reshape(n, c, h, b, w, b)
        order = (0, 3, 5, 1, 2, 4) if op == "space_to_depth" else (0, 1, 3, 5, 2, 4)
        found = apart.transpose(order).reshape(n, c * b * b, h, w)
    key = {"pixel_shuffle": "upscale_factor", "pixel_unshuffle": "downscale_factor"}.get(op, "block_size")
    size = m.literal(b, "uint32" if op == "pixel_unshuffle" else "int32")
    m.result(op, found, like=x, exact=True, x=x, **{key: size})


# -- joins and parts ---------------------------------------------------------------------------------------------------


def _alike(m: Maker, x: Tensor, axis: int | None) -> list[Tensor]:
    """x and others of its shape, but for one axis."""
    values = [x]
    for _ in range(m.integer(0, 2)):
        size = list(x.shape)
        if axis is not None:
            size[axis] = m.integer(1, 3)
        old = [v for v in m.pool if v.dtype == x.dtype and v.shape == tuple(size)]
        values.append(m.choice(old) if old and m.flag() else m.operand(m.numbers(tuple(size), x.dtype), x.dtype))
    return m.shuffled(values)


@known("concat")
def concat(m: Maker, op: str) -> None:
    x = m.pick(*ANY)
    axis, interleave = m.axis(x.rank), m.choice((False, False, True))
    values = _alike(m, x, None if interleave else axis)
    arrays = [v.array for v in values]
    found = np.concatenate(arrays, axis)
    if interleave:
        found = np.stack(arrays, axis % x.rank + 1).reshape(found.shape)
    m.result(op, found, like=x, exact=True, values=values, axis=axis, interleave=interleave)


@known("stack")
def stack(m: Maker, op: str) -> None:
    x = m.pick(*ANY, low=0, high=4)
    values, axis = _alike(m, x, None), m.integer(0, x.rank)
    m.result(op, np.stack([v.array for v in values], axis), like=x, exact=True, values=values, axis=axis)


@known("split")
def split(m: Maker, op: str) -> None:
    x = m.pick(*ANY, where=lambda a: max(a.shape) > 1)
    axis = m.axis(x.rank)
    size = x.shape[axis]
    if m.flag():
        count = m.choice([n for n in range(1, size + 1) if size % n == 0])
        parts, given = np.split(x.array, count, axis), {"num_splits": count}
    else:
        cuts = sorted({m.integer(1, size) for _ in range(2)} - {size})
        parts = np.split(x.array, cuts, axis)
        given = {"split_sizes": np.diff([0, *cuts, size])}
    if len(parts) < 2:
        raise Skip
    m.result(op, *parts, like=x, exact=True, x=x, axis=axis, **given)


@known("tile")
def tile(m: Maker, op: str) -> None:
    x = m.pick(*ANY)
    reps = [m.choice((1, 2, 1, 3)) for _ in x.shape]
    m.result(op, np.tile(x.array, reps), like=x, exact=True, x=x, reps=m.parameter(reps))


@known("pad")
def pad(m: Maker, op: str) -> None:
    """The last dimensions, so many pairs as there are; only the last two are mirrored or repeated."""
    x, mode = m.pick(*FLOATS), m.choice(("constant", "reflect", "replicate"))
    count = m.integer(1, x.rank if mode == "constant" else min(2, x.rank))
    most = [2 if mode != "reflect" else min(2, size - 1) for size in x.shape[-count:]]
    amounts = [[m.integer(0, n), m.integer(0, n)] for n in most]
    value = m.choice((None, -1.5)) if mode == "constant" else None
    whole = [(0, 0)] * (x.rank - count) + [(a, b) for a, b in amounts]
    how = {"reflect": "reflect", "replicate": "edge", "constant": "constant"}[mode]
    found = np.pad(x.array, whole, how, **({"constant_values": value or 0} if mode == "constant" else {}))  # type: ignore[call-overload]
    fill = None if value is None else m.literal(value, x.dtype)
    given = m.parameter(np.ravel(amounts).tolist())
    m.result(op, found, like=x, exact=True, x=x, pad=given, mode=mode, constant_val=fill)


@known("reverse")
def reverse(m: Maker, op: str) -> None:
    x = m.pick(*FLOATS, "int32")
    axes = m.axes(x.rank) if m.flag() else None
    m.result(op, np.flip(x.array, axes), like=x, exact=True, x=x, axes=axes)


@known("sliding_windows")
def sliding_windows(m: Maker, op: str) -> None:
    x = m.pick(*FLOATS, high=4)
    axis = m.axis(x.rank)
    size, stride = m.integer(1, x.shape[axis]), m.integer(1, 3)
    starts = range(0, x.shape[axis] - size + 1, stride)
    places = np.array([[start + i for i in range(size)] for start in starts])
    found = np.take(x.array, places, axis % x.rank)
    m.result(op, found, like=x, exact=True, x=x, axis=axis, size=size, stride=stride)


# -- slices ------------------------------------------------------------------------------------------------------------


def _bounds(m: Maker, x: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A slice of each dimension, not empty, and how an op is told of it."""
    found: list[Any] = []
    begin, end, stride = [], [], []
    masks: dict[str, list[bool]] = {"begin_mask": [], "end_mask": [], "squeeze_mask": []}
    for size in x.shape:
        step = m.choice((1, 1, 2, -1))
        first, last = m.integer(-size, size - 1), m.integer(-size - 1, size + 1)
        open_begin, open_end, single = (m.integer(0, 3) == 0 for _ in range(3))
        cut = slice(None if open_begin else first, None if open_end else last, step)
        if single and not open_begin:
            found.append(first)
        else:
            single = False
            if not len(range(*cut.indices(size))):
                cut, open_begin, open_end = slice(None, None, step), True, True
            found.append(cut)
        begin.append(first)
        end.append(last)
        stride.append(step)
        for key, value in zip(masks, (open_begin, open_end, single), strict=True):
            masks[key].append(value)
    given: dict[str, Any] = {key: mask for key, mask in masks.items() if any(mask) or m.flag()}
    if any(step != 1 for step in stride) or m.flag():
        given["stride"] = stride
    return tuple(found), {"begin": m.parameter(begin), "end": m.parameter(end), **given}


@known("slice_by_index")
def slice_by_index(m: Maker, op: str) -> None:
    x = m.pick(*ANY)
    cut, given = _bounds(m, x)
    m.result(op, x.array[cut], like=x, exact=True, x=x, **given)


@known("slice_update")
def slice_update(m: Maker, op: str) -> None:
    x = m.pick(*NUMBERS)
    if m.year < 18:
        raise Skip
    cut, given = _bounds(m, x)
    found = x.array.copy()
    if not found[cut].shape:
        raise Skip
    update = m.operand(m.numbers(found[cut].shape, x.dtype), x.dtype)
    found[cut] = update.array
    m.result(op, found, like=x, exact=True, x=x, update=update, **given)


@known("slice_by_size")
def slice_by_size(m: Maker, op: str) -> None:
    x = m.pick(*ANY)
    begin = [m.integer(0, size - 1) for size in x.shape]
    size = [m.integer(1, n - b) for n, b in zip(x.shape, begin, strict=True)]
    found = x.array[tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))]
    given = [-1 if b + n == whole and m.flag() else n for b, n, whole in zip(begin, size, x.shape, strict=True)]
    begin = [b - n if m.integer(0, 3) == 0 else b for b, n in zip(begin, x.shape, strict=True)]
    m.result(op, found, like=x, exact=True, x=x, begin=m.parameter(begin), size=m.parameter(given))


# -- gathers and scatters ----------------------------------------------------------------------------------------------


def _places(m: Maker, shape: tuple[int, ...], limit: int) -> Tensor:
    """Indices below a limit, counted from the end too where the opset has that."""
    array = np.abs(m.numbers(shape, "int32", 0, 60)) % limit
    if m.year < 17 and m.flag():
        array = np.where(array % 2, array, array - limit)
    return m.operand(array, "int32")


@known("gather")
def gather(m: Maker, op: str) -> None:
    x = m.pick(*NUMBERS, high=4)
    axis = m.axis(x.rank)
    at = axis % x.rank
    batch = m.integer(0, at) if m.year >= 16 and m.flag() else 0
    shape = (*x.shape[:batch], *m.shape(0, 2))
    indices = _places(m, shape, x.shape[at])
    if batch == 0:
        found = np.take(x.array, indices.array, at)
    else:
        parts = [np.take(x.array[i], indices.array[i], at - batch) for i in np.ndindex(*x.shape[:batch])]
        found = np.reshape(parts, (*x.shape[:batch], *parts[0].shape))
    given = {"batch_dims": batch} if batch else {}
    m.result(op, found, like=x, exact=True, x=x, indices=indices, axis=axis, **given)


@known("gather_along_axis")
def gather_along_axis(m: Maker, op: str) -> None:
    x = m.pick(*NUMBERS)
    axis = m.axis(x.rank)
    shape = list(x.shape)
    shape[axis] = m.integer(1, 4)
    indices = _places(m, tuple(shape), x.shape[axis])
    found = np.take_along_axis(x.array, indices.array % x.shape[axis], axis)
    m.result(op, found, like=x, exact=True, x=x, indices=indices, axis=axis)


def _points(m: Maker, shape: tuple[int, ...], batch: tuple[int, ...] = ()) -> Tensor:
    """Places [batch, points, K] in the first dimensions of a shape."""
    depth, lead = m.integer(1, len(shape)), (*batch, *m.shape(1, 2)[: 2 if not batch else 1])
    columns = [np.abs(m.numbers(lead, "int32", 0, 60)) % n for n in shape[:depth]]
    return m.operand(np.stack(columns, -1), "int32")


@known("gather_nd")
def gather_nd(m: Maker, op: str) -> None:
    x = m.pick(*NUMBERS, high=4)
    batch = m.integer(0, x.rank - 1) if m.year >= 16 and m.flag() else 0
    indices = _points(m, x.shape[batch:], x.shape[:batch])
    depth = indices.shape[-1]
    found = np.empty((*indices.shape[:-1], *x.shape[batch + depth :]))
    for place in np.ndindex(*indices.shape[:-1]):
        found[place] = x.array[(*place[:batch], *indices.array[place])]
    given = {"batch_dims": batch} if batch else {}
    m.result(op, found, like=x, exact=True, x=x, indices=indices, **given)


MODES: dict[str, Any] = {
    "update": lambda old, new: new, "add": lambda old, new: old + new, "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new, "max": np.maximum, "min": np.minimum,
}  # fmt: skip


@known("scatter", "scatter_along_axis", "scatter_nd")
def scatter(m: Maker, op: str) -> None:
    """Places that come twice add up; they would be in no order with "update"."""
    data, mode = m.pick(*FLOATS, "int32", high=4), m.choice(list(MODES))
    axis = m.axis(data.rank)
    at = axis % data.rank
    if op == "scatter_nd":
        indices = _points(m, data.shape)
        shape = (*indices.shape[:-1], *data.shape[indices.shape[-1] :])
    elif op == "scatter":
        indices = m.operand(np.abs(m.numbers(m.shape(1, 1), "int32", 0, 60)) % data.shape[at], "int32")
        shape = (*data.shape[:at], *indices.shape, *data.shape[at + 1 :])
    else:
        shape = (*data.shape[:at], m.integer(1, 3), *data.shape[at + 1 :])
        indices = m.operand(np.abs(m.numbers(shape, "int32", 0, 60)) % data.shape[at], "int32")
    updates = m.operand(m.numbers(shape, data.dtype), data.dtype)
    found, seen = data.array.copy(), set()
    for place in product(*map(range, shape)):
        if op == "scatter_nd":
            lead = indices.array.ndim - 1
            target = (*indices.array[place[:lead]], *place[lead:])
        else:
            index = indices.array[place[at]] if op == "scatter" else indices.array[place]
            target = (*place[:at], index, *place[at + 1 :])
        target = tuple(map(int, target))
        if mode == "update" and target in seen:
            raise Skip
        seen.add(target)
        found[target] = MODES[mode](found[target], updates.array[place])
    given = {} if op == "scatter_nd" else {"axis": axis}
    m.result(op, found, like=data, exact=True, data=data, indices=indices, updates=updates, mode=mode, **given)
