"""`quantize` and `dequantize` of activations (iOS 17)."""

from __future__ import annotations

import numpy as np

from ...program import Op
from ..scope import ONNX_DTYPES, Scope, lowers
from .common import axis_input, bounded, output_type


def _axis(scope: Scope, op: Op) -> int | None:
    if not scope.has(op, "axis"):
        return None
    return axis_input(scope, op, "axis", scope.type(op, "input").rank, 0)


def _zero_point(scope: Scope, op: Op, dtype: str) -> str:
    if scope.has(op, "zero_point"):
        return scope.input(op, "zero_point")
    shape = [size or 0 for size in scope.type(op, "scale").shape]
    bounded(op, *shape, 1)
    return scope.array(np.zeros(shape, ONNX_DTYPES[dtype]))


@lowers("quantize")
def quantize(scope: Scope, op: Op) -> None:
    """round(x / scale) + zero point, halves to even, held in the range of the type."""
    zero_point = _zero_point(scope, op, output_type(op).dtype)
    inputs = (scope.input(op, "input"), scope.input(op, "scale"), zero_point)
    scope.bind(op, scope.emit("QuantizeLinear", *inputs, axis=_axis(scope, op)))


@lowers("dequantize")
def dequantize(scope: Scope, op: Op) -> None:
    """(x - zero point) · scale."""
    zero_point = _zero_point(scope, op, scope.type(op, "input").dtype)
    inputs = (scope.input(op, "input"), scope.input(op, "scale"), zero_point)
    scope.bind(op, scope.emit("DequantizeLinear", *inputs, axis=_axis(scope, op)))
