"""`scaled_dot_product_attention` (iOS 18): written out for few queries, one kernel for many.

Written out, it keeps four arrays of queries × keys; ONNX's `Attention` (opset 23) keeps one. For the single query of a
decoding step the first is faster by a quarter (measured at 8,320 keys); 128 queries take the second as long, and a
quarter of the memory; less still, as they are taken an eighth at a time.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from ...program import Op
from ..scope import Scope, lowers

_MANY = 64  # queries
_PARTS = 8  # that many queries are cut into


@lowers("scaled_dot_product_attention")
def scaled_dot_product_attention(scope: Scope, op: Op) -> None:
    """softmax(Q Kᵀ / √E + mask) V; a boolean mask says which keys take part."""
    inputs = [scope.input(op, key) for key in ("query", "key", "value")]
    if scope.has(op, "attn_mask"):
        inputs.append(_mask(scope, op))
    query, key = scope.type(op, "query"), scope.type(op, "key")
    width, count = query.shape[-1] or key.shape[-1], query.shape[-2]
    if query.rank != 4 or key.rank != 4 or width is None or len(inputs) < 4 or (count or _MANY) < _MANY:
        return scope.bind(op, _written_out(scope, op, inputs))
    rows = scope.type(op, "attn_mask").shape[-2:-1]
    if count is not None and rows == (count,):
        return scope.bind(op, _in_parts(scope, inputs, width))
    size = scope.emit("Shape", inputs[0], start=-2, end=-1)
    same = scope.emit("Equal", scope.emit("Shape", inputs[3], start=-2, end=-1), size)  # a mask for each query
    many = scope.emit("And", same, scope.emit("Less", scope.array([_MANY - 1], np.int64), size))
    before = len(scope.nodes)
    few = _branch(scope, before, _written_out(scope, op, inputs))
    parts = _branch(scope, before, _in_parts(scope, inputs, width))
    return scope.bind(op, scope.emit("If", many, then_branch=parts, else_branch=few))


def _in_parts(scope: Scope, inputs: list[str], width: int) -> str:
    query, key, value, mask = inputs
    queries, masks = (
        scope.emit_many("Split", whole, outputs=_PARTS, axis=-2, num_outputs=_PARTS) for whole in (query, mask)
    )
    scale = 1 / math.sqrt(width)
    parts = [scope.emit("Attention", q, key, value, m, scale=scale) for q, m in zip(queries, masks, strict=True)]
    return scope.emit("Concat", *parts, axis=-2)


def _branch(scope: Scope, begin: int, result: str) -> onnx.GraphProto:
    """The nodes since `begin`, taken out of the graph into one of their own; they see the graph's values."""
    nodes = scope.nodes[begin:]
    del scope.nodes[begin:]
    output = helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, None)
    return helper.make_graph(nodes, scope.fresh("branch"), [], [output])


def _mask(scope: Scope, op: Op) -> str:
    mask = scope.input(op, "attn_mask")
    if scope.type(op, "attn_mask").dtype == "bool":
        zero, out = scope.array(0, "float32"), scope.array(-np.inf, "float32")
        mask = scope.emit("Where", mask, zero, out)
    return mask


def _written_out(scope: Scope, op: Op, inputs: list[str]) -> str:
    query, key, value, *mask = inputs
    rank, width = scope.type(op, "query").rank, scope.type(op, "query").shape[-1] or scope.type(op, "key").shape[-1]
    if (
        width and not scope.standard
    ):  # ONNX Runtime would find this form itself, but not within a branch: there it would copy all keys
        scale = 1 / math.sqrt(width)
        scores = scope.emit("FusedMatMul", query, key, domain="com.microsoft", transB=1, alpha=scale)
    else:
        turned = scope.emit("Transpose", key, perm=[*range(rank - 2), rank - 1, rank - 2])
        scores = scope.emit("MatMul", scope.emit("Mul", query, _scale(scope, op)), turned)
    if mask:
        scores = scope.emit("Add", scores, mask[0])
    return scope.emit("MatMul", scope.emit("Softmax", scores, axis=-1), value)


def _scale(scope: Scope, op: Op) -> str:
    size = scope.cast(scope.emit("Shape", scope.input(op, "query"), start=-1), "fp32")
    return scope.emit("Reciprocal", scope.emit("Sqrt", size))
