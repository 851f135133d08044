"""Matrix products: `linear`, `matmul`, `einsum`."""

from __future__ import annotations

import numpy as np

from ...program import Array, Op
from ..scope import ONNX_DTYPES, Scope, lowers
from .common import cast_between, output_type


def _operand(scope: Scope, op: Op, key: str) -> str:
    """An operand in the result's type: from iOS 17 on, a constant one may have another."""
    return cast_between(scope, scope.input(op, key), scope.type(op, key).dtype, output_type(op).dtype)


def _turned(scope: Scope, op: Op, key: str) -> str:
    """An operand with its last two dimensions exchanged, a literal already now."""
    rank, dtype = scope.type(op, key).rank, ONNX_DTYPES[output_type(op).dtype]
    if scope.is_constant(op, key) and id(scope.literal_of(op, key)) not in scope.unpacked:
        literal = scope.literal_of(op, key)
        *outer, rows, columns = (size or 0 for size in literal.type.shape)

        def load() -> Array:
            return np.ascontiguousarray(np.swapaxes(literal.load().astype(dtype, copy=False), -1, -2))

        return scope.later(load, (*outer, columns, rows), dtype)
    return scope.emit("Transpose", _operand(scope, op, key), perm=[*range(rank - 2), rank - 1, rank - 2])


@lowers("linear")
def linear(scope: Scope, op: Op) -> None:
    """x Wᵀ + b, with W [D_out, D_in]."""
    product = scope.emit("MatMul", scope.input(op, "x"), _turned(scope, op, "weight"))
    scope.bind(op, scope.emit("Add", product, _operand(scope, op, "bias")) if scope.has(op, "bias") else product)


@lowers("matmul")
def matmul(scope: Scope, op: Op) -> None:
    """Xᵀ v is taken as v X: ONNX Runtime (1.31) fuses a transposition into the product, wrongly beside a vector."""
    ranks = {key: scope.type(op, key).rank for key in ("x", "y")}
    swaps = {key: bool(scope.scalar(op, f"transpose_{key}", False)) and ranks[key] > 1 for key in ranks}
    if 1 in ranks.values() and any(swaps.values()):
        return scope.bind(op, scope.emit("MatMul", _operand(scope, op, "y"), _operand(scope, op, "x")))
    sides = [_turned(scope, op, key) if swaps[key] else _operand(scope, op, key) for key in ranks]
    return scope.bind(op, scope.emit("MatMul", *sides))


@lowers("einsum")
def einsum(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Einsum", *scope.inputs(op, "values"), equation=scope.scalar(op, "equation")))
