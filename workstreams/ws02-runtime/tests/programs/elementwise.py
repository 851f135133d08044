"""Elementwise ops in NumPy, written from coremltools' docstrings: arithmetic, comparisons, activations, casts.

Must not know the executor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .maker import ANY, FLOATS, NUMBERS, Maker, Skip, Tensor, known


def _scalar(m: Maker, value: float, x: Tensor) -> Tensor:
    """A parameter of x's type."""
    return m.literal(np.float64(value), x.dtype)


def _erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes=[float])(x)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


# -- elementwise -------------------------------------------------------------------------------------------------------

ARITHMETIC: dict[str, Any] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum,
}  # fmt: skip
COMPARISONS: dict[str, Any] = {
    "equal": np.equal, "not_equal": np.not_equal, "greater": np.greater, "greater_equal": np.greater_equal,
    "less": np.less, "less_equal": np.less_equal,
}  # fmt: skip
LOGIC: dict[str, Any] = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}


@known(*ARITHMETIC)
def arithmetic(m: Maker, op: str) -> None:
    x = m.pick(*NUMBERS, low=0)
    y = m.partner(x)
    x, y = (x, y) if m.flag() else (y, x)
    m.result(op, ARITHMETIC[op](x.array, y.array), like=x, exact=True, x=x, y=y)


@known(*COMPARISONS)
def comparison(m: Maker, op: str) -> None:
    x = m.pick(*NUMBERS, low=0, exact=True)
    y = m.partner(x, low=-2, high=2, exact=True)
    m.result(op, COMPARISONS[op](x.array, y.array), like="bool", exact=True, x=x, y=y)


@known(*LOGIC)
def logic(m: Maker, op: str) -> None:
    x = m.pick("bool", low=0)
    y = m.partner(x)
    m.result(op, LOGIC[op](x.array, y.array), like="bool", exact=True, x=x, y=y)


@known("logical_not")
def logical_not(m: Maker, op: str) -> None:
    x = m.pick("bool", low=0)
    m.result(op, ~x.array, like=x, exact=True, x=x)


@known("real_div", "floor_div", "mod")
def division(m: Maker, op: str) -> None:
    """By numbers of either sign that are not too near 0. Integers: real_div cuts off, the others go down."""
    x = m.pick(*NUMBERS, low=0, exact=op != "real_div")
    y = m.partner(x, low=1, high=4, exact=op != "real_div", positive=True)
    if x.dtype == "int32" and (y.array < 1).any():
        raise Skip
    if y.literal and m.flag():
        y = m.literal(-y.array, y.dtype)
    if op == "mod":
        found = np.mod(x.array, y.array)
    elif op == "floor_div":
        found = np.floor_divide(x.array, y.array)
    else:
        found = np.true_divide(x.array, y.array)
        found = np.trunc(found) if x.dtype == "int32" else found
    m.result(op, found, like=x, exact=op != "real_div", x=x, y=y)


@known("pow")
def power(m: Maker, op: str) -> None:
    x = m.pick(where=lambda a: a.min() >= 0.125 and a.max() <= 8)
    y = m.partner(x, low=-2, high=2, positive=m.flag())
    if np.abs(y.array).max() > 4:
        raise Skip
    m.result(op, x.array**y.array, like=x, exact=False, x=x, y=y)


STEPS: dict[str, Any] = {"ceil": np.ceil, "floor": np.floor, "round": np.rint, "sign": np.sign}
SMOOTH: dict[str, tuple[Any, float, float]] = {  # op: what it computes, and where
    "sqrt": (np.sqrt, 0.0625, 1e4), "exp": (np.exp, -20, 8), "exp2": (np.exp2, -20, 10), "sin": (np.sin, -100, 100),
    "cos": (np.cos, -100, 100), "tan": (np.tan, -1.4, 1.4), "asin": (np.arcsin, -0.9, 0.9),
    "acos": (np.arccos, -0.9, 0.9), "atan": (np.arctan, -1e4, 1e4), "atanh": (np.arctanh, -0.9, 0.9),
    "sinh": (np.sinh, -8, 8), "cosh": (np.cosh, -8, 8), "tanh": (np.tanh, -1e4, 1e4), "erf": (_erf, -1e4, 1e4),
    "sigmoid": (_sigmoid, -80, 80), "silu": (lambda x: x * _sigmoid(x), -80, 80),
    "softplus": (lambda x: np.logaddexp(0, x), -80, 80), "softsign": (lambda x: x / (1 + np.abs(x)), -1e4, 1e4),
}  # fmt: skip


@known(*STEPS)
def steps(m: Maker, op: str) -> None:
    x = m.pick(exact=True, low=0)
    m.result(op, STEPS[op](x.array), like=x, exact=True, x=x)


@known("abs", "square", "relu", "relu6")
def pieces(m: Maker, op: str) -> None:
    x = m.pick(*(NUMBERS if op in ("abs", "square") else FLOATS), low=0)
    table = {"abs": np.abs, "square": np.square, "relu": lambda a: np.maximum(a, 0), "relu6": lambda a: a.clip(0, 6)}
    m.result(op, table[op](x.array), like=x, exact=True, x=x)


@known(*SMOOTH)
def smooth(m: Maker, op: str) -> None:
    compute, least, most = SMOOTH[op]
    x = m.pick(low=0, where=lambda a: least <= a.min() and a.max() <= most)
    m.result(op, compute(x.array), like=x, exact=False, x=x)


@known("inverse", "rsqrt", "log")
def with_epsilon(m: Maker, op: str) -> None:
    x = m.pick(low=0, where=lambda a: a.min() >= 0.125)
    epsilon = m.choice((None, 0.5))
    default = {"inverse": 1e-4, "rsqrt": 1e-12, "log": 1e-45}[op]
    shifted = x.array + (float(np.float16(default) if x.dtype == "fp16" else default) if epsilon is None else epsilon)
    found = {"inverse": lambda a: 1 / a, "rsqrt": lambda a: a**-0.5, "log": np.log}[op](shifted)
    m.result(op, found, like=x, exact=False, x=x, epsilon=None if epsilon is None else _scalar(m, epsilon, x))


PARAMETERS: dict[str, tuple[Any, tuple[str, ...]]] = {  # op: what it computes of x and the parameters named
    "leaky_relu": (lambda x, a: np.where(x >= 0, x, a * x), ("alpha",)),
    "elu": (lambda x, a: np.where(x > 0, x, a * np.expm1(x.clip(-50, 50))), ("alpha",)),
    "sigmoid_hard": (lambda x, a, b: (a * x + b).clip(0, 1), ("alpha", "beta")),
    "scaled_tanh": (lambda x, a, b: a * np.tanh(b * x), ("alpha", "beta")),
    "linear_activation": (lambda x, a, b: a * x + b, ("alpha", "beta")),
    "clamped_relu": (lambda x, a, b: np.minimum(b, np.where(x >= 0, x, a * x)), ("alpha", "beta")),
    "threshold": (lambda x, a: np.maximum(x, a), ("alpha",)),
    "clip": (lambda x, a, b: np.minimum(np.maximum(x, a), b), ("alpha", "beta")),
}


@known(*PARAMETERS)
def with_parameters(m: Maker, op: str) -> None:
    x = m.pick(low=1)
    compute, names = PARAMETERS[op]
    numbers = sorted(m.integer(-8, 8) / 8 for _ in names)
    given = {name: _scalar(m, number, x) for name, number in zip(names, numbers, strict=True)}
    m.result(op, compute(x.array, *numbers), like=x, exact=op != "elu" and op != "scaled_tanh", x=x, **given)


@known("thresholded_relu")
def thresholded_relu(m: Maker, op: str) -> None:
    x, alpha = m.pick(exact=True), m.integer(0, 16) / 8
    found = np.where(x.array >= alpha, x.array, 0)
    m.result(op, found, like=x, exact=True, x=x, alpha=_scalar(m, alpha, x))


@known("gelu")
def gelu(m: Maker, op: str) -> None:
    x = m.pick(where=lambda a: np.abs(a).max() < 50)
    mode = m.choice((None, "EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"))
    a = x.array
    if mode == "TANH_APPROXIMATION":
        found = a / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))
    else:
        found = a * _sigmoid(1.702 * a) if mode == "SIGMOID_APPROXIMATION" else a / 2 * (1 + _erf(a / math.sqrt(2)))
    m.result(op, found, like=x, exact=False, x=x, mode=mode)


@known("prelu", "softplus_parametric")
def by_channel(m: Maker, op: str) -> None:
    x = m.pick(low=3, where=lambda a: np.abs(a).max() < 50)
    shape = (x.shape[1], *[1] * (x.rank - 2))
    names = ("alpha",) if op == "prelu" else ("alpha", "beta")
    given = {name: m.literal(m.numbers((x.shape[1],), x.dtype, 0, 2), x.dtype) for name in names}
    alpha, beta = given["alpha"].array.reshape(shape), given[names[-1]].array.reshape(shape)
    found = np.where(x.array >= 0, x.array, alpha * x.array)
    if op == "softplus_parametric":
        found = alpha * np.logaddexp(0, beta * x.array)
    m.result(op, found, like=x, exact=op == "prelu", x=x, **given)


@known("cast")
def cast(m: Maker, op: str) -> None:
    """To integers it cuts off; to bool whatever is not 0 is true; to fp16 it rounds."""
    x = m.pick(*ANY, low=0, exact=True)
    target = m.choice(ANY)
    if target == "int32":
        found = np.trunc(x.array.astype(float)).astype(np.int64)
    elif target == "bool":
        found = x.array != 0
    else:
        found = x.array.astype(float)
        found = found.astype(np.float16).astype(float) if target == "fp16" else found
    m.result(op, found, like=target, exact=True, x=x, dtype=target)


@known("select")
def select(m: Maker, op: str) -> None:
    a = m.pick(*ANY, low=0)
    b = m.partner(a)
    shape = np.broadcast_shapes(a.shape, b.shape)
    conditions = [v for v in m.pool if v.dtype == "bool" and _into(v.shape, shape)]
    cond = m.choice(conditions) if conditions and m.flag() else m.literal(m.numbers(shape, "bool"))
    m.result(op, np.where(cond.array, a.array, b.array), like=a, exact=True, cond=cond, a=a, b=b)


def _into(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a shape is broadcast to another without making that larger."""
    return len(shape) <= len(whole) and all(a in (1, b) for a, b in zip(shape[::-1], whole[::-1], strict=False))
