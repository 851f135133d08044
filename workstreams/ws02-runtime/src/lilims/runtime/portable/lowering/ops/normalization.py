"""Normalisations. Formulas are those of coremltools' op documentation (`iOS15/normalization.py`)."""

from __future__ import annotations

import numpy as np

from lilims.core.errors import PackageError

from ...program import Op
from ..scope import Scope, lowers
from .common import bounded, static_shape

_MOST_NEIGHBOURS = 1 << 12  # channels of a local normalisation: ONNX Runtime goes through them one by one


def _filled(scope: Scope, op: Op, key: str, size: int, value: float) -> str:
    """An optional vector [size] with its default."""
    if scope.has(op, key):
        return scope.input(op, key)
    bounded(op, size)
    return scope.array([value] * size, "float32")


@lowers("batch_norm")
def batch_norm(scope: Scope, op: Op) -> None:
    (channels,) = static_shape(scope, op, "mean")
    gamma, beta = _filled(scope, op, "gamma", channels, 1), _filled(scope, op, "beta", channels, 0)
    inputs = (scope.input(op, "x"), gamma, beta, scope.input(op, "mean"), scope.input(op, "variance"))
    epsilon = float(scope.scalar(op, "epsilon", 1e-5))
    scope.bind(op, scope.emit("BatchNormalization", *inputs, epsilon=epsilon))


@lowers("instance_norm")
def instance_norm(scope: Scope, op: Op) -> None:
    """Over every dimension but batch and channel."""
    kind = scope.type(op, "x")
    normal = _standardised(scope, op, list(range(2, kind.rank)))
    scope.bind(op, _affine(scope, op, normal, kind.rank, [1]))


@lowers("layer_norm")
def layer_norm(scope: Scope, op: Op) -> None:
    kind = scope.type(op, "x")
    wanted = scope.ints(op, "axes", None)
    axes = list(range(kind.rank)) if wanted is None else sorted({axis % kind.rank for axis in wanted})
    trailing = axes == list(range(kind.rank - len(axes), kind.rank))
    sizes = [kind.shape[axis] for axis in axes]
    if trailing and (scope.has(op, "gamma") or None not in sizes):
        ones = [size or 1 for size in sizes]
        if not scope.has(op, "gamma"):
            bounded(op, *ones)
        gamma = scope.input(op, "gamma") if scope.has(op, "gamma") else scope.array(np.ones(ones), "float32")
        beta = [scope.input(op, "beta")] if scope.has(op, "beta") else []
        epsilon = float(scope.scalar(op, "epsilon", 1e-5))
        inputs = (scope.input(op, "x"), gamma, *beta)
        return scope.bind(op, scope.emit("LayerNormalization", *inputs, axis=axes[0], epsilon=epsilon))
    return scope.bind(op, _affine(scope, op, _standardised(scope, op, axes), kind.rank, axes))


def _standardised(scope: Scope, op: Op, axes: list[int]) -> str:
    """(x - mean) / sqrt(variance + epsilon) over the axes, the variance from the differences."""
    x, over = scope.input(op, "x"), scope.array(axes, "int64")
    centred = scope.emit("Sub", x, scope.emit("ReduceMean", x, over, keepdims=1))
    variance = scope.emit("ReduceMean", scope.emit("Mul", centred, centred), over, keepdims=1)
    epsilon = scope.array(float(scope.scalar(op, "epsilon", 1e-5)), "float32")
    return scope.emit("Div", centred, scope.emit("Sqrt", scope.emit("Add", variance, epsilon)))


def _affine(scope: Scope, op: Op, value: str, rank: int, axes: list[int]) -> str:
    """value · gamma + beta, each where given; they have the dimensions `axes` alone."""
    others = [axis for axis in range(rank) if axis not in axes]
    for key, onnx_type in (("gamma", "Mul"), ("beta", "Add")):
        if scope.has(op, key):
            factor = scope.input(op, key)
            if others:
                factor = scope.emit("Unsqueeze", factor, scope.array(others, "int64"))
            value = scope.emit(onnx_type, value, factor)
    return value


@lowers("l2_norm")
def l2_norm(scope: Scope, op: Op) -> None:
    """Over the last three dimensions."""
    x = scope.input(op, "x")
    total = scope.emit("ReduceSumSquare", x, scope.array([-3, -2, -1], "int64"), keepdims=1)
    epsilon = scope.array(float(scope.scalar(op, "epsilon", 1e-6)), "float32")
    scope.bind(op, scope.emit("Div", x, scope.emit("Sqrt", scope.emit("Add", total, epsilon))))


@lowers("local_response_norm")
def local_response_norm(scope: Scope, op: Op) -> None:
    """x / (k + alpha · mean of the squares of `size` neighbouring channels) ^ beta; absent channels count as zeros.

    ONNX's LRN puts the odd neighbour of an even window on the other side, hence a pooling along the channels.
    """
    x, size = scope.input(op, "x"), int(scope.scalar(op, "size"))
    if not 0 < size <= _MOST_NEIGHBOURS:
        raise PackageError(f"op {op.type} has a window of {size} channels", where=op.name)
    batch, channels = (scope.emit("Shape", x, start=axis, end=axis + 1) for axis in (0, 1))
    one, rest = scope.array([1], "int64"), scope.array([-1], "int64")
    flat = scope.emit("Concat", batch, one, channels, rest, axis=0)
    squares = scope.emit("Reshape", scope.emit("Mul", x, x), flat)
    pads = [size // 2, 0, (size - 1) // 2, 0]
    mean = scope.emit("AveragePool", squares, kernel_shape=[size, 1], count_include_pad=1, pads=pads)
    mean = scope.emit("Reshape", mean, scope.emit("Shape", x))
    alpha, beta, k = (
        scope.array(float(scope.scalar(op, key, default)), "float32")
        for key, default in (("alpha", 1e-4), ("beta", 0.75), ("k", 1.0))
    )
    base = scope.emit("Add", scope.emit("Mul", mean, alpha), k)
    scope.bind(op, scope.emit("Div", x, scope.emit("Pow", base, beta)))
