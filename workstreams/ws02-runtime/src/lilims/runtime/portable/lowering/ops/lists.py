"""Lists: `make_list` and what reads and writes them.

A list is a tensor [length, *element], its elements one after the other: so it may be a loop's variable, of another
length in each round. Writing beyond its end makes it longer, with zeros between. A dimension of the element that is not
known until something is written is 1 until then.
Source: coremltools, `mil/ops/defs/iOS15/control_flow.py`.
"""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from lilims.core.errors import PackageError

from ...program import ListType, Op, TensorType
from ..scope import ONNX_DTYPES, Scope, lowers
from .common import dimension, int64_input, integer_index


def _element(op: Op) -> TensorType:
    found = op.outputs[0].type
    if not isinstance(found, ListType):
        raise PackageError(f"{op.type} makes no list", where=op.name)
    return found.element


def _vector(scope: Scope, op: Op, key: str) -> str:
    return scope.emit("Reshape", int64_input(scope, op, key), scope.array([-1], "int64"))


def _zeros(scope: Scope, sizes: str, dtype: str) -> str:
    return scope.emit("ConstantOfShape", sizes, value=numpy_helper.from_array(np.zeros(1, ONNX_DTYPES[dtype])))


@lowers("make_list")
def make_list(scope: Scope, op: Op) -> None:
    element = _element(op)
    length = _vector(scope, op, "init_length") if scope.has(op, "init_length") else scope.array([1], "int64")
    sizes = scope.array([1 if size is None else size for size in element.shape], "int64")
    scope.bind(op, _zeros(scope, scope.emit("Concat", length, sizes, axis=0), element.dtype))


@lowers("list_length")
def list_length(scope: Scope, op: Op) -> None:
    length = scope.emit("Squeeze", dimension(scope, scope.input(op, "ls"), 0), scope.array([0], "int64"))
    scope.bind(op, scope.cast(length, "int32"))


@lowers("list_read")
def list_read(scope: Scope, op: Op) -> None:
    index = scope.emit("Reshape", integer_index(scope, op, "index"), scope.array([], "int64"))
    scope.bind(op, scope.emit("Gather", scope.input(op, "ls"), index, axis=0))


@lowers("list_gather")
def list_gather(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Gather", scope.input(op, "ls"), integer_index(scope, op, "indices"), axis=0))


@lowers("list_write")
def list_write(scope: Scope, op: Op) -> None:
    value = scope.emit("Unsqueeze", scope.input(op, "value"), scope.array([0], "int64"))
    _write(scope, op, _vector(scope, op, "index"), value)


@lowers("list_scatter")
def list_scatter(scope: Scope, op: Op) -> None:
    _write(scope, op, _vector(scope, op, "indices"), scope.input(op, "value"))


def _write(scope: Scope, op: Op, indices: str, values: str) -> None:
    """The list with values [K, *element] at indices [K], as long as the largest of them needs."""
    element, held = _element(op), scope.input(op, "ls")
    length, one = dimension(scope, held, 0), scope.array(1, "int64")
    sizes = scope.emit("Shape", values, start=1)
    if None in element.shape:
        held = scope.emit("Expand", held, scope.emit("Concat", length, sizes, axis=0))
    needed = scope.emit("Add", scope.emit("ReduceMax", indices, keepdims=1), one)
    more = scope.emit("Sub", scope.emit("Max", needed, length), length)
    longer = _zeros(scope, scope.emit("Concat", more, sizes, axis=0), element.dtype)
    held = scope.emit("Concat", held, longer, axis=0)
    places = scope.emit("Unsqueeze", indices, scope.array([1], "int64"))
    scope.bind(op, scope.emit("ScatterND", held, places, values))
