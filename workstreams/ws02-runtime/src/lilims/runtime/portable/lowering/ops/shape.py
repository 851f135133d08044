"""Ops that change a tensor's shape and keep its elements: reshape, transpose, expand_dims, squeeze and the like."""

from __future__ import annotations

import numpy as np

from lilims.core.errors import PackageError

from ...program import Op
from ..scope import Scope, lowers
from .common import constant_list, int64_input, opset_year, output_type, vector_input


@lowers("identity")
def identity(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.input(op, "x"))


@lowers("shape")
def shape(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.cast(scope.emit("Shape", scope.input(op, "x")), output_type(op).dtype))


@lowers("reshape")
def reshape(scope: Scope, op: Op) -> None:
    """0 stands for a dimension of x: the one at the same place, from iOS 17 on counted from the right."""
    x, target = scope.input(op, "x"), vector_input(scope, op, "shape")
    rank, length = scope.type(op, "x").rank, output_type(op).rank
    copies = isinstance(target, str) or bool((target == 0).any())
    if copies and rank != length:
        if opset_year(scope) < 17 and not isinstance(target, str):
            raise PackageError("reshape copies a dimension (0), which needs equal ranks before iOS 17", where=op.name)
        return scope.bind(op, scope.emit("Reshape", x, _right_aligned(scope, op, x, rank, length)))
    return scope.bind(op, scope.emit("Reshape", x, int64_input(scope, op, "shape")))


def _right_aligned(scope: Scope, op: Op, x: str, rank: int, length: int) -> str:
    """The target shape with every 0 replaced by x's dimension at the same distance from the right, or by 1."""
    target = int64_input(scope, op, "shape")
    sizes = scope.emit("Shape", x, start=max(rank - length, 0))
    if length > rank:
        sizes = scope.emit("Concat", scope.array(np.ones(length - rank), "int64"), sizes, axis=0)
    return scope.emit("Where", scope.emit("Equal", target, scope.array(0, "int64")), sizes, target)


@lowers("reshape_like")
def reshape_like(scope: Scope, op: Op) -> None:
    begins, ends, masks = (constant_list(scope, op, key) for key in ("begins", "ends", "end_masks"))
    sizes = [
        scope.emit("Shape", value, start=int(begin), end=None if bool(mask) else int(end))
        for value, begin, end, mask in zip(scope.inputs(op, "ref_tensors"), begins, ends, masks, strict=True)
    ]
    scope.bind(op, scope.emit("Reshape", scope.input(op, "x"), scope.emit("Concat", *sizes, axis=0), allowzero=1))


@lowers("transpose")
def transpose(scope: Scope, op: Op) -> None:
    rank = scope.type(op, "x").rank
    perm = [int(axis) % rank for axis in scope.ints(op, "perm")] if rank else []
    scope.bind(op, scope.emit("Transpose", scope.input(op, "x"), perm=perm))


@lowers("expand_dims")
def expand_dims(scope: Scope, op: Op) -> None:
    axes = scope.array(scope.ints(op, "axes"), "int64")
    scope.bind(op, scope.emit("Unsqueeze", scope.input(op, "x"), axes))


@lowers("squeeze")
def squeeze(scope: Scope, op: Op) -> None:
    """Dimensions other than 1 are left alone, as are flexible ones: a program counts on their place."""
    sizes = scope.type(op, "x").shape
    wanted = scope.ints(op, "axes", None)
    asked = range(len(sizes)) if wanted is None else sorted({axis % len(sizes) for axis in wanted})
    axes = [axis for axis in asked if sizes[axis] == 1]
    x = scope.input(op, "x")
    scope.bind(op, scope.emit("Squeeze", x, scope.array(axes, "int64")) if axes else x)


@lowers("flatten2d")
def flatten2d(scope: Scope, op: Op) -> None:
    axis = int(scope.scalar(op, "axis", 1))
    scope.bind(op, scope.emit("Flatten", scope.input(op, "x"), axis=axis))
