"""A product with a quantised matrix, on the codes themselves.

    Given                                                  Result
    %w = constexpr_blockwise_shift_scale(                  %y = lilims.quantized_linear(
             data=int4|uint4|int8|uint8 [N,K],                     x=%x, data=…, scale=…, offset=…, bias=%b)
             scale=fp [N or N/n, K/block],
             offset=optional)                              which is com.microsoft.MatMulNBits, or with
    %y = linear(x=%x, weight=%w, bias=%b)                  lilims-kernels lilims.QuantizedLinear ("fast")
      or matmul(x=%x, y=%w, transpose_y=true)

Offsets that are no whole numbers leave a remainder for each block, the same for all of its values: it is multiplied
with the sums of x over blocks, a product of a sixteenth to a 256th of the size, and added.

Precision "fast" multiplies with activations quantised to int8 by block (accuracy level 4), "exact" with float32
(level 1). ONNX Runtime has no float32 kernel for 8-bit codes worth the name (it unpacks the matrix at each call), so
"exact" leaves those to the plain lowering, which unpacks it once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..lowering.scope import NATIVE_DOMAIN, Precision, Scope, lowers
from ..program import Function, Op
from .match import Index, single
from .native import native_inputs
from .weights import QuantizedMatrix, given_matrix, matrix_inputs, matrix_of

__all__ = ["rewrite"]

_PSEUDO = "lilims.quantized_linear"
_ACCURACY_LEVEL = {"fast": 4, "exact": 1}
_KEYS = {"linear": ("x", "weight"), "matmul": ("x", "y")}


def rewrite(function: Function, precision: Precision) -> Function:
    index = Index(function)
    return replace(function, ops=tuple(_rewritten(op, index, precision) for op in function.ops))


def _rewritten(op: Op, index: Index, precision: Precision) -> Op:
    matrix = _matrix(op, index)
    if matrix is None or (precision == "exact" and matrix.bits == 8):
        return op
    x, _ = _KEYS[op.type]
    inputs = {"x": op.inputs[x], **matrix_inputs(matrix)}
    if op.inputs.get("bias"):
        inputs["bias"] = op.inputs["bias"]
    return Op(_PSEUDO, op.name, inputs, op.outputs)


def _matrix(op: Op, index: Index) -> QuantizedMatrix | None:
    if op.type not in _KEYS or len(op.outputs) != 1:
        return None
    if op.type == "matmul" and not (
        index.value(op, "transpose_y", False) is True and index.value(op, "transpose_x", False) is False
    ):
        return None
    x = index.tensor(single(op, _KEYS[op.type][0]))
    if x is None or x.rank < 2 or not x.is_float:
        return None
    return matrix_of(index, single(op, _KEYS[op.type][1]), remainders=True)


@lowers(_PSEUDO)
def quantized_linear(scope: Scope, op: Op) -> None:
    matrix = given_matrix(op)
    native = native_inputs(scope, matrix) if scope.precision == "fast" else None
    if native is not None:
        inputs, attributes = native
        bias = [scope.input(op, "bias")] if scope.has(op, "bias") else []
        values = [scope.input(op, "x"), *inputs, *bias]
        scope.bind(op, scope.emit("QuantizedLinear", *values, domain=NATIVE_DOMAIN, **attributes))
        return
    zero_points, remainders = matrix.zero_points(), matrix.remainders()
    x = scope.input(op, "x")
    shape = (matrix.rows, matrix.blocks, matrix.block * matrix.bits // 8)
    packed = scope.later(lambda: matrix.packed().reshape(shape), shape, np.uint8)
    inputs = [x, packed, scope.later(matrix.scales, shape[:2], np.float32)]
    inputs.append("" if zero_points is None else scope.array(zero_points))
    if scope.has(op, "bias"):
        inputs += ["", scope.input(op, "bias")]
    result = scope.emit(
        "MatMulNBits",
        *inputs,
        domain="com.microsoft",
        K=matrix.columns,
        N=matrix.rows,
        bits=matrix.bits,
        block_size=matrix.block,
        accuracy_level=_ACCURACY_LEVEL[scope.precision],
    )
    if remainders is not None:
        result = scope.emit("Add", result, _times_block_sums(scope, op, x, matrix, remainders))
    scope.bind(op, result)


def _times_block_sums(scope: Scope, op: Op, x: str, matrix: QuantizedMatrix, remainders: NDArray[np.float32]) -> str:
    """x [..., K] summed over blocks [..., K / block], times remainders [N, K / block] transposed."""
    others = [0] * (scope.type(op, "x").rank - 1)  # as they were
    shape = scope.array([*others, matrix.blocks, matrix.block], np.int64)
    sums = scope.emit("ReduceSum", scope.emit("Reshape", x, shape), scope.array([-1], np.int64), keepdims=0)
    return scope.emit("MatMul", sums, scope.array(np.ascontiguousarray(remainders.T)))
