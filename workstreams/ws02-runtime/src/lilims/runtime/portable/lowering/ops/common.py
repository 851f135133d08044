"""What several op families share: arguments as ONNX wants them, and how an unsupported form is refused.

Knows Scope and ONNX's habits (axes and shapes are int64, some kernels lack some integer types). Must not know any op.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import PackageError, UnsupportedOpError

from ...program import Op, TensorType
from ..scope import ONNX_DTYPES, Scope

__all__ = [
    "INT_MAX",
    "INT_MIN",
    "Attributes",
    "Vector",
    "axis_input",
    "bounded",
    "cast_between",
    "checks_indices",
    "choose",
    "constant_list",
    "dimension",
    "flags",
    "int64_input",
    "integer_index",
    "name_of",
    "opset_year",
    "output_type",
    "refusing_negative",
    "static_shape",
    "unsupported",
    "vector_input",
    "with_dtype",
]

INT_MAX = int(np.iinfo(np.int64).max)
INT_MIN = int(np.iinfo(np.int64).min)

_MOST = 1 << 24

Ints = NDArray[np.int64]
Attributes = dict[str, Any]  # of an ONNX node
Vector = Ints | str  # int64 values that are known now, or the ONNX value that will hold them

_OPSETS = {"CoreML3": 13, "CoreML4": 14, "CoreML5": 15, "CoreML6": 16, "CoreML7": 17, "CoreML8": 18, "CoreML9": 26}


def unsupported(scope: Scope, op: Op, reason: str) -> UnsupportedOpError:
    """The error for a form of an op that has no exact counterpart here."""
    return UnsupportedOpError(f"op {op.type}: {reason}", where=f"{scope.function.name}/{op.name}")


def opset_year(scope: Scope) -> int:
    """The iOS version of the function's opset (CoreML7 is 17); an unknown opset counts as the newest."""
    return _OPSETS.get(scope.function.opset, 26)


def output_type(op: Op, index: int = 0) -> TensorType:
    """The MIL type of one of the op's outputs."""
    found = op.outputs[index].type
    if not isinstance(found, TensorType):
        raise PackageError(f"op {op.type} has an output that is no tensor", where=op.name)
    return found


def static_shape(scope: Scope, op: Op, key: str) -> tuple[int, ...]:
    """The shape of an input all of whose dimensions must be fixed."""
    shape = scope.type(op, key).shape
    if any(size is None for size in shape):
        raise unsupported(scope, op, f"input {key!r} has a flexible shape, which is supported for fixed shapes only")
    return tuple(size for size in shape if size is not None)


def axis_input(scope: Scope, op: Op, key: str, rank: int, default: int) -> int:
    """A constant axis, counted from the front.

    Raises:
        PackageError: the axis lies outside the rank.
    """
    axis = int(scope.scalar(op, key, default))
    if not -rank <= axis < rank:
        raise PackageError(f"op {op.type} has {key} {axis}, outside rank {rank}", where=op.name)
    return axis % rank


def bounded(op: Op, *sizes: int) -> None:
    """Refuses a table of those sizes that a lowering is about to make of numbers in a file, where it is absurd.

    Raises:
        PackageError: it has over 2²⁴ elements, or a size below 0.
    """
    if min(sizes) < 0 or prod(sizes) > _MOST:
        message = f"op {op.type} asks for a table of {' × '.join(map(str, sizes))} numbers"
        raise PackageError(message, where=op.name, hint="the package is damaged")


def flags(scope: Scope, op: Op, key: str, length: int) -> list[bool]:
    """A constant mask of one bool per dimension; absent means all false."""
    value = scope.constant(op, key, None)
    return [False] * length if value is None else [bool(v) for v in np.atleast_1d(value)]


def constant_list(scope: Scope, op: Op, key: str) -> list[NDArray[np.generic]]:
    """The values of a variadic input that must all be known before running."""
    value = scope.constant(op, key)
    return value if isinstance(value, list) else [value]


def int64_input(scope: Scope, op: Op, key: str) -> str:
    """An integer input as int64, as ONNX wants shapes, axes and indices."""
    return name_of(scope, vector_input(scope, op, key))


def vector_input(scope: Scope, op: Op, key: str) -> Vector:
    """An integer input as int64: an array where it is known already."""
    if scope.has(op, key) and scope.is_constant(op, key):
        return np.asarray(scope.constant(op, key)).astype(np.int64)
    value = scope.input(op, key)
    return value if scope.type(op, key).dtype == "int64" else scope.cast(value, "int64")


def name_of(scope: Scope, vector: Vector) -> str:
    """The ONNX value that holds a vector."""
    return vector if isinstance(vector, str) else scope.array(vector, np.int64)


def choose(scope: Scope, mask: Sequence[bool], yes: Vector, no: Vector) -> Vector:
    """Element by element `yes` where the mask is set, else `no`; no node where that can be told already."""
    if not any(mask):
        return no
    if not isinstance(yes, str) and not isinstance(no, str):
        return np.where(np.asarray(mask), yes, no)
    return scope.emit("Where", scope.array(mask, np.bool_), name_of(scope, yes), name_of(scope, no))


def integer_index(scope: Scope, op: Op, key: str, *, wide: bool = False) -> str:
    """Indices for Gather and its kin, which take int32 and int64; with `wide`, int64 alone."""
    if checks_indices(scope, op):
        return refusing_negative(scope, int64_input(scope, op, key))
    value, dtype = scope.input(op, key), scope.type(op, key).dtype
    return value if dtype == "int64" or (dtype == "int32" and not wide) else scope.cast(value, "int64")


def checks_indices(scope: Scope, op: Op) -> bool:
    """Whether an index below zero is an error, which it is from iOS 17 on where the op is told to look."""
    return opset_year(scope) >= 17 and bool(scope.scalar(op, "validate_indices", False))


def refusing_negative(scope: Scope, indices: str) -> str:
    """int64 indices with those below zero sent beyond any dimension, where the kernel refuses them."""
    below = scope.emit("Less", indices, scope.array(0, "int64"))
    return scope.emit("Where", below, scope.array(INT_MAX, "int64"), indices)


def dimension(scope: Scope, value: str, axis: int) -> str:
    """The size of one dimension at run time, as an int64 vector of one element."""
    return scope.emit("Shape", value, start=axis, end=axis + 1 if axis != -1 else None)


def cast_between(scope: Scope, value: str, source: str, target: str) -> str:
    """`value` of MIL type `source` as the ONNX type of MIL type `target`; no node where these are one."""
    return value if ONNX_DTYPES[source] is ONNX_DTYPES[target] else scope.cast(value, target)


def with_dtype(
    scope: Scope, dtype: str, lacking: Sequence[str], through: str, values: Sequence[str], build: Callable[..., str]
) -> str:
    """`build(*values)`, computed in MIL type `through` where the kernel lacks MIL type `dtype`."""
    if dtype not in lacking:
        return build(*values)
    return scope.cast(build(*(scope.cast(value, through) for value in values)), dtype)
