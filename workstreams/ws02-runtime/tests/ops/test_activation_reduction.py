"""Activations and reductions against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lilims.core.errors import PackageError, UnsupportedOpError

from .harness import Case, Const, case, check, floats, i32, run

X = floats(2, 3, 4, seed=1, low=-4, high=4)
X4 = floats(2, 3, 4, 2, seed=2, low=-4, high=4)
INT = np.random.default_rng(0).integers(-5, 6, (2, 3, 4)).astype(np.int32)
CHANNEL = floats(3, seed=3, low=0.1, high=1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


erf = np.vectorize(math.erf, otypes=[np.float32])
ab = {"alpha": Const(0.3), "beta": Const(0.8)}
per_channel = CHANNEL.reshape(3, 1, 1)

ACTIVATIONS = [
    case("relu", "relu", np.maximum(X, 0), x=X),
    case("relu6", "relu6", np.clip(X * 2, 0, 6), x=X * 2),
    case("sigmoid", "sigmoid", sigmoid(X), x=X),
    case("sigmoid-far", "sigmoid", np.array([0, 1], np.float32), x=np.array([-1e4, 1e4], np.float32)),
    case("silu", "silu", X * sigmoid(X), x=X),
    case("softplus", "softplus", np.log1p(np.exp(X)), x=X),
    case("softplus-large", "softplus", np.array([1e4, 0], np.float32), x=np.array([1e4, -1e4], np.float32)),
    case("softsign", "softsign", X / (1 + abs(X)), x=X),
    case("elu", "elu", np.where(X > 0, X, 0.3 * (np.exp(X) - 1)), x=X, alpha=Const(0.3)),
    case("leaky_relu", "leaky_relu", np.where(X >= 0, X, 0.3 * X), x=X, alpha=Const(0.3)),
    case("clamped_relu", "clamped_relu", np.minimum(np.where(X >= 0, X, 0.3 * X), 0.8), x=X, **ab),
    case("clamped_relu-negative-alpha", "clamped_relu", np.minimum(np.where(X >= 0, X, -0.5 * X), 0.8),
         x=X, alpha=Const(-0.5), beta=Const(0.8)),
    case("linear_activation", "linear_activation", 0.3 * X + 0.8, x=X, **ab),
    case("scaled_tanh", "scaled_tanh", 0.3 * np.tanh(0.8 * X), x=X, **ab),
    case("sigmoid_hard", "sigmoid_hard", np.clip(0.3 * X + 0.8, 0, 1), x=X, **ab),
    case("thresholded_relu", "thresholded_relu", np.where(X >= 0.5, X, 0), x=X, alpha=Const(0.5)),
    case("thresholded_relu-tie", "thresholded_relu", np.array([0.5, 0], np.float32),
         x=np.array([0.5, 0.4], np.float32), alpha=Const(0.5)),
    case("prelu", "prelu", np.where(X4 > 0, X4, X4 * per_channel), x=X4, alpha=Const(CHANNEL)),
    case("prelu-rank-3", "prelu", np.where(X > 0, X, X * np.float32(0.2)), x=X, alpha=Const(np.full(3, 0.2, "f"))),
    case("softplus_parametric", "softplus_parametric", per_channel * np.log1p(np.exp(X4 * (per_channel + 1))),
         x=X4, alpha=Const(CHANNEL), beta=Const(CHANNEL + 1)),
    case("gelu-default", "gelu", 0.5 * X * (1 + erf(X / math.sqrt(2))), x=X),
    case("gelu-exact", "gelu", 0.5 * X * (1 + erf(X / math.sqrt(2))), x=X, mode=Const("EXACT")),
    case("gelu-tanh", "gelu", 0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3))),
         x=X, mode=Const("TANH_APPROXIMATION")),
    case("gelu-sigmoid", "gelu", X * sigmoid(1.702 * X), x=X, mode=Const("SIGMOID_APPROXIMATION")),
    case("softmax-default", "softmax", softmax(X, -1), x=X),
    *(case(f"softmax-{axis}", "softmax", softmax(X, axis), x=X, axis=Const(axis)) for axis in (0, 1, 2, -2)),
    case("softmax-large", "softmax", np.array([0.5, 0.5, 0], np.float32), x=np.array([1e4, 1e4, -1e4], np.float32)),
]  # fmt: skip

REDUCTIONS = {
    "reduce_sum": np.sum, "reduce_mean": np.mean, "reduce_max": np.max, "reduce_min": np.min, "reduce_prod": np.prod,
    "reduce_l1_norm": lambda x, **k: np.abs(x).sum(**k),
    "reduce_l2_norm": lambda x, **k: np.sqrt(np.square(x).sum(**k)),
    "reduce_log_sum": lambda x, **k: np.log(x.sum(**k)),
    "reduce_log_sum_exp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "reduce_sum_square": lambda x, **k: np.square(x).sum(**k),
}  # fmt: skip


def reduction_cases() -> list[Case]:
    cases = []
    for op, f in REDUCTIONS.items():
        x = abs(X) + np.float32(0.1) if op == "reduce_log_sum" else X
        n = abs(INT) + np.int32(1) if op == "reduce_log_sum" else INT
        for name, axes in (("all", None), ("last", [-1]), ("middle", [1]), ("two", [0, -1]), ("unsorted", [2, 0])):
            given = {} if axes is None else {"axes": Const(axes)}
            over = None if axes is None else tuple(axes)
            for keep in (False, True):
                expected = np.asarray(f(x, axis=over, keepdims=keep), np.float32)
                inputs = {**given, "keep_dims": Const(keep)}
                cases.append(case(f"{op}-{name}-{'keep' if keep else 'drop'}", op, expected, x=x, **inputs))
            whole = np.asarray(f(n.astype(np.float64), axis=over)).astype(np.int32)
            cases.append(case(f"{op}-int32-{name}", op, whole, x=n, **given))
    for op, f in (("reduce_argmax", np.argmax), ("reduce_argmin", np.argmin)):
        for axis in (0, 1, -1):
            found = f(X, axis=axis).astype(np.int32)
            cases += [
                case(f"{op}-{axis}", op, found, x=X, axis=Const(axis)),
                case(
                    f"{op}-{axis}-keep", op, np.expand_dims(found, axis), x=X, axis=Const(axis), keep_dims=Const(True)
                ),
            ]
        cases += [
            case(f"{op}-default", op, f(X, axis=-1).astype(np.int32), x=X),
            case(f"{op}-uint16", op, f(X, axis=-1).astype(np.uint16), x=X, output_dtype=Const("uint16")),
            case(f"{op}-int32", op, f(i32([3, 9, -4])).astype(np.int32), x=i32([3, 9, -4])),
        ]
    large = np.array([1000, 1000], np.float32)
    cases.append(case("reduce_log_sum_exp-large", "reduce_log_sum_exp", np.float32(1000 + math.log(2)), x=large))
    return cases


CASES = ACTIVATIONS + reduction_cases()


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_fixed(example: Case) -> None:
    check(example)


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_flexible(example: Case) -> None:
    check(example, flexible=True)


def test_fp16_precision_rounds_every_result() -> None:
    expected = (X.astype(np.float16).astype(np.float32) * np.float32(0.1)).astype(np.float16)
    example = case("", "linear_activation", expected, like={"precision": "fp16"},
                   x=X.astype(np.float16), alpha=Const(np.float32(0.1)), beta=Const(0.0))  # fmt: skip
    (result,) = run(example)
    np.testing.assert_array_equal(result, result.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(result, expected, rtol=1e-3)


def test_unknown_gelu_mode_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="SINE"):
        run(case("", "gelu", X, x=X, mode=Const("SINE")))


def test_axis_outside_the_rank_is_an_error() -> None:
    with pytest.raises(PackageError, match="axis 3"):
        run(case("", "softmax", X, x=X, axis=Const(3)))
