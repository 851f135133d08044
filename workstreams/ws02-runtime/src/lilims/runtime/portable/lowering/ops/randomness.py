"""Random tensors: `random_uniform`, `random_normal`, `random_bernoulli`, `random_categorical`.

The distribution is the op's; the numbers are ONNX Runtime's generator's, which are not a device's. With a seed, a model
that is opened anew gives the same sequence over its calls; without one (a seed below zero) each process has another.
Source: coremltools, `mil/ops/defs/iOS15/random.py`.
"""

from __future__ import annotations

from onnx import TensorProto

from lilims.core.errors import PackageError

from ...program import Op
from ..scope import Scope, lowers
from .common import Attributes, int64_input, output_type


def _seed(scope: Scope, op: Op) -> Attributes:
    seed = int(scope.scalar(op, "seed", -1))
    return {"seed": float(seed)} if seed >= 0 else {}


def _draw(scope: Scope, op: Op, onnx_type: str, start: float = 0.0, width: float = 1.0) -> str:
    """start + width · x, x standard, of the op's shape. Other parameters than the standard ones may end the process."""
    like = scope.emit("ConstantOfShape", int64_input(scope, op, "shape"))
    drawn = scope.emit(onnx_type, like, dtype=TensorProto.FLOAT, **_seed(scope, op))
    if width != 1.0:
        drawn = scope.emit("Mul", drawn, scope.array(width, "float32"))
    return scope.emit("Add", drawn, scope.array(start, "float32")) if start else drawn


@lowers("random_uniform")
def random_uniform(scope: Scope, op: Op) -> None:
    low, high = float(scope.scalar(op, "low", 0.0)), float(scope.scalar(op, "high", 1.0))
    scope.bind(op, _draw(scope, op, "RandomUniformLike", low, high - low))


@lowers("random_normal")
def random_normal(scope: Scope, op: Op) -> None:
    mean, deviation = float(scope.scalar(op, "mean", 0.0)), float(scope.scalar(op, "stddev", 1.0))
    scope.bind(op, _draw(scope, op, "RandomNormalLike", mean, deviation))


@lowers("random_bernoulli")
def random_bernoulli(scope: Scope, op: Op) -> None:
    drawn = _draw(scope, op, "RandomUniformLike")
    hit = scope.emit("Less", drawn, scope.array(scope.scalar(op, "prob", 0.5), "float32"))
    scope.bind(op, scope.cast(hit, output_type(op).dtype))


@lowers("random_categorical")
def random_categorical(scope: Scope, op: Op) -> None:
    """`size` draws, with replacement, from each distribution along the last dimension."""
    mode, size = scope.scalar(op, "mode", "logits"), int(scope.scalar(op, "size", 1))
    if mode not in ("logits", "probs"):
        raise PackageError(f"random_categorical has mode {mode!r}", where=op.name)
    x = scope.input(op, "x")
    if not scope.type(op, "x").is_float:
        x = scope.cast(x, "fp32")
    sizes = scope.emit("Concat", scope.emit("Shape", x, end=-1), scope.array([size], "int64"), axis=0)
    classes = scope.emit("Shape", x, start=-1)
    rows = scope.emit("Reshape", x, scope.emit("Concat", scope.array([-1], "int64"), classes, axis=0))
    logits = scope.emit("Log", rows) if mode == "probs" else rows
    drawn = scope.emit("Multinomial", logits, sample_size=size, dtype=TensorProto.INT32, **_seed(scope, op))
    scope.bind(op, scope.cast(scope.emit("Reshape", drawn, sizes), output_type(op).dtype))
