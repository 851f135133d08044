"""Ops that put tensors together, take them apart or repeat them: concat, stack, split, tile, pad."""

from __future__ import annotations

import numpy as np

from lilims.core.errors import PackageError

from ...program import Op
from ..scope import Scope, lowers
from .common import int64_input, output_type, unsupported, vector_input, with_dtype

PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@lowers("concat")
def concat(scope: Scope, op: Op) -> None:
    values, axis = scope.inputs(op, "values"), int(scope.scalar(op, "axis"))
    rank = scope.type(op, "values").rank
    if rank == 0:  # scalars become a vector
        return scope.bind(op, _stack(scope, values, 0))
    axis %= rank
    if not scope.scalar(op, "interleave", False):
        return scope.bind(op, scope.emit("Concat", *values, axis=axis))
    stacked = _stack(scope, values, axis + 1)
    times = np.where(np.arange(rank) == axis, len(values), 1)
    target = scope.emit("Mul", scope.emit("Shape", values[0]), scope.array(times, "int64"))
    return scope.bind(op, scope.emit("Reshape", stacked, target))


@lowers("stack")
def stack(scope: Scope, op: Op) -> None:
    scope.bind(op, _stack(scope, scope.inputs(op, "values"), int(scope.scalar(op, "axis"))))


def _stack(scope: Scope, values: list[str], axis: int) -> str:
    place = scope.array([axis], "int64")
    return scope.emit("Concat", *(scope.emit("Unsqueeze", value, place) for value in values), axis=axis)


@lowers("split")
def split(scope: Scope, op: Op) -> None:
    x, axis = scope.input(op, "x"), int(scope.scalar(op, "axis"))
    count = len(op.outputs)
    if scope.has(op, "split_sizes"):
        sizes = int64_input(scope, op, "split_sizes")
        scope.bind(op, *scope.emit_many("Split", x, sizes, outputs=count, axis=axis))
    else:
        size = scope.type(op, "x").shape[axis]
        if size is not None and size % count:
            raise PackageError(f"split of {size} into {count} equal parts", where=op.name)
        scope.bind(op, *scope.emit_many("Split", x, outputs=count, axis=axis, num_outputs=count))


@lowers("tile")
def tile(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Tile", scope.input(op, "x"), int64_input(scope, op, "reps")))


@lowers("pad")
def pad(scope: Scope, op: Op) -> None:
    """MIL pads the last N dimensions, [before, after] for each; ONNX wants all befores, then all afters."""
    mode = scope.scalar(op, "mode", "constant")
    if mode not in PAD_MODES:
        raise unsupported(scope, op, f"mode {mode!r} is not known")
    amounts, rank = vector_input(scope, op, "pad"), scope.type(op, "x").rank
    if isinstance(amounts, str):
        pairs = scope.emit("Reshape", amounts, scope.array([-1, 2], "int64"))
        flat = scope.emit("Reshape", scope.emit("Transpose", pairs, perm=[1, 0]), scope.array([-1], "int64"))
        padded = scope.type(op, "pad").shape[0]
        count = rank if padded is None else padded // 2
    else:
        if not amounts.any():
            return scope.bind(op, scope.input(op, "x"))
        flat, count = scope.array(amounts.reshape(-1, 2).T.reshape(-1)), amounts.size // 2
    axes = scope.array(np.arange(rank - count, rank), "int64")
    fill = _fill(scope, op) if mode == "constant" else ""
    dtype = output_type(op).dtype

    def build(x: str, *value: str) -> str:
        return scope.emit("Pad", x, flat, value[0] if value else "", axes, mode=PAD_MODES[mode])

    inputs = [scope.input(op, "x"), *([fill] if fill else [])]
    return scope.bind(op, with_dtype(scope, dtype, ("int16", "uint16"), "int32", inputs, build))


def _fill(scope: Scope, op: Op) -> str:
    if not scope.has(op, "constant_val"):
        return ""
    value = scope.input(op, "constant_val")
    if scope.type(op, "constant_val").rank:
        value = scope.emit("Reshape", value, scope.array([], "int64"))
    return value
