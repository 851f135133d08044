"""Matrix products: `linear`, `matmul`, `einsum`."""

from __future__ import annotations

from ...program import Op
from ..scope import Scope, lowers
from .common import cast_between, output_type


def _operand(scope: Scope, op: Op, key: str) -> str:
    """An operand in the result's type: from iOS 17 on, a constant one may have another."""
    return cast_between(scope, scope.input(op, key), scope.type(op, key).dtype, output_type(op).dtype)


def _transposed(scope: Scope, value: str, rank: int) -> str:
    """The last two dimensions exchanged; a vector is left as it is."""
    if rank < 2:
        return value
    return scope.emit("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


@lowers("linear")
def linear(scope: Scope, op: Op) -> None:
    """x Wᵀ + b, with W [D_out, D_in]."""
    product = scope.emit("MatMul", scope.input(op, "x"), _transposed(scope, _operand(scope, op, "weight"), 2))
    scope.bind(op, scope.emit("Add", product, _operand(scope, op, "bias")) if scope.has(op, "bias") else product)


@lowers("matmul")
def matmul(scope: Scope, op: Op) -> None:
    sides = []
    for key in ("x", "y"):
        value = _operand(scope, op, key)
        swap = scope.scalar(op, f"transpose_{key}", False)
        sides.append(_transposed(scope, value, scope.type(op, key).rank) if swap else value)
    scope.bind(op, scope.emit("MatMul", *sides))


@lowers("einsum")
def einsum(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Einsum", *scope.inputs(op, "values"), equation=scope.scalar(op, "equation")))
