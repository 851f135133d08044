"""`non_maximum_suppression`: a fixed number of boxes, the best first.

ONNX's op says which boxes survive, any number of them. Marked among all boxes, they are sorted by score, and the first
`max_boxes` are taken; what is missing is padded with zeros, and with the index -1. Where no box survives, the best one
does. With `per_class_suppression` a box counts for the class of its highest score alone.
Source: coremltools, `mil/ops/defs/iOS15/tensor_operation.py` and iOS17's, which has the boxes last and no threshold of
scores; what is taken when none survives is from the reference in coremltools' tests of the op.
"""

from __future__ import annotations

import numpy as np

from ...program import Op
from ..scope import Scope, lowers
from .common import opset_year, output_type

_LOWEST = float(np.finfo(np.float32).min)


@lowers("non_maximum_suppression")
def non_maximum_suppression(scope: Scope, op: Op) -> None:
    boxes, scores = scope.input(op, "boxes"), scope.input(op, "scores")  # [n, B, 4], [n, B, K]
    last = opset_year(scope) >= 17
    if last:
        boxes, scores = (scope.emit("Transpose", value, perm=[0, 2, 1]) for value in (boxes, scores))
    best = scope.emit("ReduceMax", scores, scope.array([2], "int64"), keepdims=0)  # [n, B]
    survives = _survivors(scope, op, boxes, scores, best)
    order, count = _first(scope, op, survives, best)
    places = scope.emit("Range", scope.array(0, "int64"), scope.emit("Size", _row(scope, order)), _one(scope))
    there = scope.emit("Less", places, count)  # [n, k]
    indices = scope.emit("Where", there, order, scope.array(-1, "int64"))
    results = [_taken(scope, op, value, order, there) for value in (boxes, scores)]
    if last:
        results = [scope.emit("Transpose", value, perm=[0, 2, 1]) for value in results]
    results.append(scope.cast(_padded(scope, op, indices, -1), output_type(op, 2).dtype))
    if len(op.outputs) == 4:
        flat = scope.emit("Squeeze", count, scope.array([1], "int64"))
        results.append(scope.cast(flat, output_type(op, 3).dtype))
    scope.bind(op, *results)


def _one(scope: Scope) -> str:
    return scope.array(1, "int64")


def _row(scope: Scope, matrix: str) -> str:
    return scope.emit("Gather", matrix, scope.array(0, "int64"), axis=0)


def _survivors(scope: Scope, op: Op, boxes: str, scores: str, best: str) -> str:
    """[n, B], true where a box survives."""
    if scope.scalar(op, "per_class_suppression", False):
        by_class = scope.emit("Transpose", scores, perm=[0, 2, 1])
        owner = scope.emit("ArgMax", scores, axis=2, keepdims=1)  # [n, B, 1]
        classes = scope.emit("Squeeze", scope.emit("Shape", scores, start=2), scope.array([0], "int64"))
        range_ = scope.emit("Range", scope.array(0, "int64"), classes, _one(scope))
        own = scope.emit("Transpose", scope.emit("Equal", owner, range_), perm=[0, 2, 1])
        ranked = scope.emit("Where", own, by_class, scope.array(-np.inf, "float32"))
    else:
        ranked = scope.emit("Unsqueeze", best, scope.array([1], "int64"))
    threshold = float(scope.scalar(op, "score_threshold", _LOWEST)) if scope.has(op, "score_threshold") else _LOWEST
    chosen = scope.emit(
        "NonMaxSuppression", boxes, ranked,
        scope.array([int(scope.scalar(op, "max_boxes"))], "int64"),
        scope.array([float(scope.scalar(op, "iou_threshold"))], "float32"),
        scope.array([threshold], "float32"),
        center_point_box=1,
    )  # fmt: skip
    where = scope.emit("Gather", chosen, scope.array([0, 2], "int64"), axis=1)
    marks = scope.emit("Expand", _one(scope), scope.emit("Shape", chosen, end=1))
    none = scope.emit("ConstantOfShape", scope.emit("Shape", best))
    none = scope.cast(none, "int64")
    return scope.cast(scope.emit("ScatterND", none, where, marks), "bool")


def _first(scope: Scope, op: Op, survives: str, best: str) -> tuple[str, str]:
    """The survivors' places [n, k], by score, and how many of them count [n, 1]."""
    limit = scope.array([int(scope.scalar(op, "max_boxes"))], "int64")
    survivors = scope.emit("ReduceSum", scope.cast(survives, "int64"), scope.array([1], "int64"), keepdims=1)
    nobody = scope.emit("Equal", survivors, scope.array(0, "int64"))
    ranked = scope.emit("Where", scope.emit("Or", survives, nobody), best, scope.array(-np.inf, "float32"))
    k = scope.emit("Min", limit, scope.emit("Shape", best, start=1))
    _, order = scope.emit_many("TopK", ranked, k, outputs=2, axis=1)
    return order, scope.emit("Max", scope.emit("Min", survivors, limit), _one(scope))


def _taken(scope: Scope, op: Op, value: str, order: str, there: str) -> str:
    last = scope.array([2], "int64")
    rows = scope.emit("GatherND", value, scope.emit("Unsqueeze", order, last), batch_dims=1)
    rows = scope.emit("Where", scope.emit("Unsqueeze", there, last), rows, scope.array(0, "float32"))
    return _padded(scope, op, rows, 0.0)


def _padded(scope: Scope, op: Op, value: str, filler: float) -> str:
    """Dimension 1 made as long as `max_boxes`."""
    limit = scope.array([int(scope.scalar(op, "max_boxes"))], "int64")
    missing = scope.emit("Sub", limit, scope.emit("Shape", value, start=1, end=2))
    amounts = scope.emit("Concat", scope.array([0], "int64"), missing, axis=0)
    fill = scope.array(filler, "int64" if isinstance(filler, int) else "float32")
    return scope.emit("Pad", value, amounts, fill, scope.array([1], "int64"))
