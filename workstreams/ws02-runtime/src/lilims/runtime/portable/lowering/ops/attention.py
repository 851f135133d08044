"""`scaled_dot_product_attention` (iOS 18), written out; fusion/ may put one kernel in its place."""

from __future__ import annotations

import math

import numpy as np

from ...program import Op
from ..scope import Scope, lowers


@lowers("scaled_dot_product_attention")
def scaled_dot_product_attention(scope: Scope, op: Op) -> None:
    """softmax(Q Kᵀ / √E + mask) V; a boolean mask says which keys take part."""
    rank = scope.type(op, "query").rank
    swapped = [*range(rank - 2), rank - 1, rank - 2]
    keys = scope.emit("Transpose", scope.input(op, "key"), perm=swapped)
    scores = scope.emit("MatMul", scope.emit("Mul", scope.input(op, "query"), _scale(scope, op)), keys)
    if scope.has(op, "attn_mask"):
        mask = scope.input(op, "attn_mask")
        if scope.type(op, "attn_mask").dtype == "bool":
            zero, out = scope.array(0, "float32"), scope.array(-np.inf, "float32")
            mask = scope.emit("Where", mask, zero, out)
        scores = scope.emit("Add", scores, mask)
    scope.bind(op, scope.emit("MatMul", scope.emit("Softmax", scores, axis=-1), scope.input(op, "value")))


def _scale(scope: Scope, op: Op) -> str:
    width = scope.type(op, "query").shape[-1] or scope.type(op, "key").shape[-1]
    if width:
        return scope.array(1 / math.sqrt(width), "float32")
    size = scope.cast(scope.emit("Shape", scope.input(op, "query"), start=-1), "fp32")
    return scope.emit("Reciprocal", scope.emit("Sqrt", size))
