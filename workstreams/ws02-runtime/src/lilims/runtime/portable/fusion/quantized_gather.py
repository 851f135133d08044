"""Rows of a quantised table, of which only those asked for are unpacked.

    Given                                                  Result
    %w = constexpr_blockwise_shift_scale(                  %y = lilims.quantized_gather(
             data=int4|uint4|int8|uint8 [V,D], …)                  indices=%i, data=…, scale=…, offset=…)
    %y = gather(x=%w, indices=%i, axis=0, batch_dims=0)
                                                           which is com.microsoft.GatherBlockQuantized, or with
                                                           lilims-kernels lilims.QuantizedGather

The result is that of the plain lowering to the last bit, whatever the precision. A table that a linear uses too keeps
its one copy of codes in the file.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..lowering.scope import NATIVE_DOMAIN, Precision, Scope, lowers
from ..program import Function, Op
from .match import Index, single
from .native import native_inputs
from .weights import QuantizedMatrix, given_matrix, matrix_inputs, matrix_of

__all__ = ["rewrite"]

_PSEUDO = "lilims.quantized_gather"


def rewrite(function: Function, precision: Precision) -> Function:
    index = Index(function)
    return replace(function, ops=tuple(_rewritten(op, index) for op in function.ops))


def _rewritten(op: Op, index: Index) -> Op:
    matrix = _table(op, index)
    if matrix is None:
        return op
    return Op(_PSEUDO, op.name, {"indices": op.inputs["indices"], **matrix_inputs(matrix)}, op.outputs)


def _table(op: Op, index: Index) -> QuantizedMatrix | None:
    if op.type != "gather" or index.value(op, "axis", 0) != 0 or index.value(op, "batch_dims", 0) != 0:
        return None
    return matrix_of(index, single(op, "x"))


@lowers(_PSEUDO)
def quantized_gather(scope: Scope, op: Op) -> None:
    matrix = given_matrix(op)
    indices = scope.cast(scope.input(op, "indices"), "int32")
    native = native_inputs(scope, matrix)
    if native is not None:
        inputs, attributes = native
        scope.bind(op, scope.emit("QuantizedGather", indices, *inputs, domain=NATIVE_DOMAIN, **attributes))
        return
    zero_points = matrix.zero_points()
    inputs = [
        scope.later(matrix.packed, (matrix.rows, matrix.blocks * matrix.block * matrix.bits // 8), np.uint8),
        indices,
        scope.later(matrix.scales, (matrix.rows, matrix.blocks), np.float32),
    ]
    if zero_points is not None:
        inputs.append(scope.array(zero_points))
    result = scope.emit(
        "GatherBlockQuantized",
        *inputs,
        domain="com.microsoft",
        gather_axis=0,
        quantize_axis=1,
        block_size=matrix.block,
        bits=matrix.bits,
    )
    if matrix.columns < matrix.blocks * matrix.block:  # padded rows
        bounds = (scope.array([n], np.int64) for n in (0, matrix.columns, -1))
        result = scope.emit("Slice", result, *bounds)
    scope.bind(op, result)
