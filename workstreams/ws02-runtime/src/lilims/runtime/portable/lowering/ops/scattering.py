"""`scatter`, `scatter_along_axis`, `scatter_nd` with their modes.

ONNX scatters with add, mul, max and min. A subtraction adds what is negated; a division divides by the product of what
falls on one place, which is exact where a place is hit once.

Indices below zero count from the end, but not in iOS 17's ops. From these on an index outside the dimension, or below
zero, is an error with `validate_indices`; without it, what it does is undefined but memory safe: here it becomes 0.
"""

from __future__ import annotations

from collections.abc import Callable

from ...program import Op
from ..scope import Scope, lowers
from .common import (
    axis_input,
    checks_indices,
    dimension,
    int64_input,
    opset_year,
    output_type,
    refusing_negative,
    unsupported,
)

REDUCTION = {"update": "none", "add": "add", "sub": "add", "mul": "mul", "div": "mul", "max": "max", "min": "min"}

Write = Callable[[str, str, str], str]  # data, updates, reduction -> data


def _indices(scope: Scope, op: Op, sizes: str) -> str:
    """int64 indices into dimensions of these sizes."""
    indices = int64_input(scope, op, "indices")
    if opset_year(scope) < 17:
        return indices
    if checks_indices(scope, op):
        return refusing_negative(scope, indices)
    zero = scope.array(0, "int64")
    lowest = zero if opset_year(scope) == 17 else scope.emit("Neg", sizes)
    outside = scope.emit("Or", scope.emit("Less", indices, lowest), scope.emit("GreaterOrEqual", indices, sizes))
    return scope.emit("Where", outside, zero, indices)


def _scatter(scope: Scope, op: Op, data: str, updates: str, write: Write) -> str:
    mode = str(scope.scalar(op, "mode", "add"))
    if mode not in REDUCTION:
        raise unsupported(scope, op, f"mode {mode!r} is not known")
    if mode == "div":
        if not output_type(op).is_float:
            raise unsupported(scope, op, "mode 'div' on integers has no defined rounding")
        ones = scope.emit("Expand", scope.array(1, "float32"), scope.emit("Shape", data))
        return scope.emit("Div", data, write(ones, updates, "mul"))
    if mode == "sub":
        updates = scope.emit("Neg", updates)
    return write(data, updates, REDUCTION[mode])


@lowers("scatter")
def scatter(scope: Scope, op: Op) -> None:
    """The indexed dimension goes to the front, where ScatterND takes it, and back."""
    rank = scope.type(op, "data").rank
    axis, width = axis_input(scope, op, "axis", rank, 0), scope.type(op, "indices").rank
    found = _indices(scope, op, dimension(scope, scope.input(op, "data"), axis))
    indices = scope.emit("Unsqueeze", found, scope.array([-1], "int64"))
    data, updates = scope.input(op, "data"), scope.input(op, "updates")
    if axis:
        data = scope.emit("Transpose", data, perm=[axis, *range(axis), *range(axis + 1, rank)])
        total = rank - 1 + width
        front = [*range(axis, axis + width), *range(axis), *range(axis + width, total)]
        updates = scope.emit("Transpose", updates, perm=front)

    def write(target: str, values: str, reduction: str) -> str:
        return scope.emit("ScatterND", target, indices, values, reduction=reduction)

    result = _scatter(scope, op, data, updates, write)
    if axis:
        result = scope.emit("Transpose", result, perm=[*range(1, axis + 1), 0, *range(axis + 1, rank)])
    scope.bind(op, result)


@lowers("scatter_along_axis")
def scatter_along_axis(scope: Scope, op: Op) -> None:
    axis = axis_input(scope, op, "axis", scope.type(op, "data").rank, 0)
    indices = _indices(scope, op, dimension(scope, scope.input(op, "data"), axis))

    def write(target: str, values: str, reduction: str) -> str:
        return scope.emit("ScatterElements", target, indices, values, axis=axis, reduction=reduction)

    scope.bind(op, _scatter(scope, op, scope.input(op, "data"), scope.input(op, "updates"), write))


@lowers("scatter_nd")
def scatter_nd(scope: Scope, op: Op) -> None:
    sizes, zero = scope.emit("Shape", scope.input(op, "data")), scope.array([0], "int64")
    indexed = scope.emit("Slice", sizes, zero, scope.emit("Shape", scope.input(op, "indices"), start=-1))
    indices = _indices(scope, op, indexed)

    def write(target: str, values: str, reduction: str) -> str:
        return scope.emit("ScatterND", target, indices, values, reduction=reduction)

    scope.bind(op, _scatter(scope, op, scope.input(op, "data"), scope.input(op, "updates"), write))
