"""Reductions over axes, `reduce_argmax` and `reduce_argmin`.

Integer inputs give integer results: the ones that leave the integers on the way (mean, norms, logarithms) are computed
in double precision and truncated, as in coremltools' value inference.
"""

from __future__ import annotations

from onnx import TensorProto

from ...program import Op
from ..scope import Scope, lowers
from .common import axis_input, output_type

REDUCTIONS = {
    "reduce_sum": "ReduceSum", "reduce_mean": "ReduceMean", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd", "reduce_l1_norm": "ReduceL1", "reduce_l2_norm": "ReduceL2",
    "reduce_log_sum": "ReduceLogSum", "reduce_log_sum_exp": "ReduceLogSumExp",
    "reduce_sum_square": "ReduceSumSquare",
}  # fmt: skip
LEAVES_INTEGERS = ("reduce_mean", "reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp")
ARGUMENTS = {"reduce_argmax": "ArgMax", "reduce_argmin": "ArgMin"}


@lowers(*REDUCTIONS)
def reduce(scope: Scope, op: Op) -> None:
    axes = scope.ints(op, "axes", None)
    more = [scope.array(axes, "int64")] if axes is not None else []
    keep = int(bool(scope.scalar(op, "keep_dims", False)))
    x = scope.input(op, "x")
    if output_type(op).is_float or op.type not in LEAVES_INTEGERS:
        return scope.bind(op, scope.emit(REDUCTIONS[op.type], x, *more, keepdims=keep))
    wide = scope.emit(REDUCTIONS[op.type], scope.emit("Cast", x, to=TensorProto.DOUBLE), *more, keepdims=keep)
    return scope.bind(op, scope.cast(wide, output_type(op).dtype))


@lowers(*ARGUMENTS)
def reduce_argument(scope: Scope, op: Op) -> None:
    axis = axis_input(scope, op, "axis", scope.type(op, "x").rank, -1)
    keep = int(bool(scope.scalar(op, "keep_dims", False)))
    found = scope.emit(ARGUMENTS[op.type], scope.input(op, "x"), axis=axis, keepdims=keep)
    scope.bind(op, scope.cast(found, output_type(op).dtype))
