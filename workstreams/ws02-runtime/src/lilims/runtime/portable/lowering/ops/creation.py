"""Ops that make a tensor from sizes, positions or order: fill, ranges, one-hot, bands, running sums, sorting."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from lilims.core.errors import PackageError

from ...program import Op
from ..scope import ONNX_DTYPES, Scope, lowers
from .common import Attributes, axis_input, dimension, int64_input, output_type, with_dtype
from .elementwise import WHERE_LACKS


def _filled(scope: Scope, op: Op, sizes: str) -> None:
    value = np.asarray(scope.constant(op, "value", np.float32(0)), ONNX_DTYPES[output_type(op).dtype])
    scope.bind(op, scope.emit("ConstantOfShape", sizes, value=numpy_helper.from_array(value.reshape(1))))


@lowers("fill")
def fill(scope: Scope, op: Op) -> None:
    _filled(scope, op, int64_input(scope, op, "shape"))


@lowers("fill_like")
def fill_like(scope: Scope, op: Op) -> None:
    _filled(scope, op, scope.emit("Shape", scope.input(op, "ref_tensor")))


@lowers("range_1d")
def range_1d(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Range", *(_as_scalar(scope, op, key) for key in ("start", "end", "step"))))


def _as_scalar(scope: Scope, op: Op, key: str) -> str:
    value = scope.input(op, key)
    return scope.emit("Reshape", value, scope.array([], "int64")) if scope.type(op, key).rank else value


@lowers("one_hot")
def one_hot(scope: Scope, op: Op) -> None:
    """On where the index equals the position: indices below zero or beyond the size are off everywhere."""
    rank = scope.type(op, "indices").rank + 1
    axis = axis_input(scope, op, "axis", rank, -1)
    indices = scope.emit("Unsqueeze", scope.input(op, "indices"), scope.array([axis], "int64"))
    zero, one = scope.array(0, "int32"), scope.array(1, "int32")
    positions = scope.emit("Range", zero, scope.cast(_as_scalar(scope, op, "one_hot_vector_size"), "int32"), one)
    spread = scope.array([-1 if dim == axis else 1 for dim in range(rank)], "int64")
    if scope.type(op, "indices").dtype != "int32":
        indices = scope.cast(indices, "int32")
    hit = scope.emit("Equal", indices, scope.emit("Reshape", positions, spread))
    dtype = output_type(op).dtype
    values = [
        scope.input(op, key) if scope.has(op, key) else scope.array(default, ONNX_DTYPES[dtype])
        for key, default in (("on_value", 1), ("off_value", 0))
    ]
    pick = with_dtype(scope, dtype, WHERE_LACKS, "int32", values, lambda on, off: scope.emit("Where", hit, on, off))
    scope.bind(op, pick)


@lowers("band_part")
def band_part(scope: Scope, op: Op) -> None:
    """Keeps `lower` diagonals below the main one and `upper` above it; a negative number keeps them all."""
    lower, upper = (int(scope.scalar(op, key, -1)) for key in ("lower", "upper"))

    def build(value: str) -> str:
        if lower >= 0:
            value = scope.emit("Trilu", value, scope.array(-lower, "int64"), upper=1)
        if upper >= 0:
            value = scope.emit("Trilu", value, scope.array(upper, "int64"), upper=0)
        return value

    scope.bind(op, with_dtype(scope, output_type(op).dtype, (), "int64", [scope.input(op, "x")], build))


@lowers("cumsum")
def cumsum(scope: Scope, op: Op) -> None:
    axis = scope.array(axis_input(scope, op, "axis", scope.type(op, "x").rank, 0), "int64")
    how: Attributes = {key: int(bool(scope.scalar(op, key, False))) for key in ("exclusive", "reverse")}
    scope.bind(op, scope.emit("CumSum", scope.input(op, "x"), axis, **how))


@lowers("non_zero")
def non_zero(scope: Scope, op: Op) -> None:
    """One row of indices per element that is not zero."""
    found = scope.emit("NonZero", scope.input(op, "x"))
    scope.bind(op, scope.cast(scope.emit("Transpose", found, perm=[1, 0]), output_type(op).dtype))


def _sorted(scope: Scope, op: Op, count: str, axis: int) -> tuple[str, str]:
    """The `count` first elements and their places, ties in their order."""
    x, dtype = scope.input(op, "x"), scope.type(op, "x").dtype
    largest = int(not scope.scalar(op, "ascending", False))
    if dtype == "uint16":  # no kernel
        x = scope.cast(x, "int32")
    values, places = scope.emit_many("TopK", x, count, outputs=2, axis=axis, largest=largest, sorted=1)
    return (scope.cast(values, dtype) if dtype == "uint16" else values), places


@lowers("topk")
def topk(scope: Scope, op: Op) -> None:
    axis = axis_input(scope, op, "axis", scope.type(op, "x").rank, -1)
    k = int(scope.scalar(op, "k", 1))
    count = dimension(scope, scope.input(op, "x"), axis) if k == -1 else scope.array([k], "int64")
    values, places = _sorted(scope, op, count, axis)
    if scope.scalar(op, "return_indices", True):
        if len(op.outputs) != 2:
            raise PackageError("topk returns values and indices", where=op.name)
        scope.bind(op, values, scope.cast(places, output_type(op, 1).dtype))
    else:
        scope.bind(op, values)


@lowers("argsort")
def argsort(scope: Scope, op: Op) -> None:
    axis = axis_input(scope, op, "axis", scope.type(op, "x").rank, -1)
    _, places = _sorted(scope, op, dimension(scope, scope.input(op, "x"), axis), axis)
    scope.bind(op, scope.cast(places, output_type(op).dtype))
