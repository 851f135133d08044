"""Activations. Formulas are those of coremltools' op documentation (`iOS15/activation.py`)."""

from __future__ import annotations

from ...program import Op
from ..scope import Scope, lowers
from .common import axis_input, unsupported

PLAIN = {"relu": "Relu", "sigmoid": "Sigmoid", "softplus": "Softplus", "softsign": "Softsign"}
WITH_ALPHA = {"elu": "Elu", "leaky_relu": "LeakyRelu"}
GELU = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}


@lowers(*PLAIN)
def plain(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit(PLAIN[op.type], scope.input(op, "x")))


@lowers(*WITH_ALPHA)
def with_alpha(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit(WITH_ALPHA[op.type], scope.input(op, "x"), alpha=float(scope.scalar(op, "alpha"))))


@lowers("relu6")
def relu6(scope: Scope, op: Op) -> None:
    low, high = scope.array(0, "float32"), scope.array(6, "float32")
    scope.bind(op, scope.emit("Clip", scope.input(op, "x"), low, high))


@lowers("clamped_relu")
def clamped_relu(scope: Scope, op: Op) -> None:
    leaky = scope.emit("LeakyRelu", scope.input(op, "x"), alpha=float(scope.scalar(op, "alpha")))
    scope.bind(op, scope.emit("Min", leaky, scope.input(op, "beta")))


@lowers("thresholded_relu")
def thresholded_relu(scope: Scope, op: Op) -> None:
    x = scope.input(op, "x")  # ONNX's ThresholdedRelu drops x == alpha, MIL keeps it
    keep = scope.emit("GreaterOrEqual", x, scope.input(op, "alpha"))
    scope.bind(op, scope.emit("Where", keep, x, scope.array(0, "float32")))


@lowers("gelu")
def gelu(scope: Scope, op: Op) -> None:
    x, mode = scope.input(op, "x"), scope.scalar(op, "mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        gate = scope.emit("Sigmoid", scope.emit("Mul", x, scope.array(1.702, "float32")))
        return scope.bind(op, scope.emit("Mul", x, gate))
    if mode not in GELU:
        raise unsupported(scope, op, f"mode {mode!r} is not known")
    return scope.bind(op, scope.emit("Gelu", x, approximate=GELU[mode]))


@lowers("silu")
def silu(scope: Scope, op: Op) -> None:
    x = scope.input(op, "x")
    scope.bind(op, scope.emit("Mul", x, scope.emit("Sigmoid", x)))


@lowers("linear_activation")
def linear_activation(scope: Scope, op: Op) -> None:
    scaled = scope.emit("Mul", scope.input(op, "x"), scope.input(op, "alpha"))
    scope.bind(op, scope.emit("Add", scaled, scope.input(op, "beta")))


@lowers("scaled_tanh")
def scaled_tanh(scope: Scope, op: Op) -> None:
    inner = scope.emit("Tanh", scope.emit("Mul", scope.input(op, "x"), scope.input(op, "beta")))
    scope.bind(op, scope.emit("Mul", inner, scope.input(op, "alpha")))


@lowers("sigmoid_hard")
def sigmoid_hard(scope: Scope, op: Op) -> None:
    alpha, beta = float(scope.scalar(op, "alpha")), float(scope.scalar(op, "beta"))
    scope.bind(op, scope.emit("HardSigmoid", scope.input(op, "x"), alpha=alpha, beta=beta))


def _per_channel(scope: Scope, op: Op, key: str) -> str:
    """A vector [C] shaped to broadcast along dimension 1 of x."""
    shape = [-1] + [1] * (scope.type(op, "x").rank - 2)
    return scope.emit("Reshape", scope.input(op, key), scope.array(shape, "int64"))


@lowers("prelu")
def prelu(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("PRelu", scope.input(op, "x"), _per_channel(scope, op, "alpha")))


@lowers("softplus_parametric")
def softplus_parametric(scope: Scope, op: Op) -> None:
    inner = scope.emit("Softplus", scope.emit("Mul", scope.input(op, "x"), _per_channel(scope, op, "beta")))
    scope.bind(op, scope.emit("Mul", inner, _per_channel(scope, op, "alpha")))


@lowers("softmax")
def softmax(scope: Scope, op: Op) -> None:
    axis = axis_input(scope, op, "axis", scope.type(op, "x").rank, -1)
    scope.bind(op, scope.emit("Softmax", scope.input(op, "x"), axis=axis))
