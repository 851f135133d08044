"""Elementwise ops against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from .harness import Case, Const, case, check, floats, i32, run

X, Y = floats(2, 3, 4, seed=1), floats(2, 3, 4, seed=2)
ROW, SCALAR = floats(4, seed=3), floats(seed=4)
INT_X, INT_Y = i32([[7, -7, 7, -7], [0, 1, -1, 2**30]]), i32([[3, 3, -3, -3], [5, -5, 5, 7]])
POSITIVE = floats(2, 3, 4, seed=5, low=0.1, high=3)

BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum,
    "floor_div": np.floor_divide, "mod": np.mod,
    "equal": np.equal, "not_equal": np.not_equal, "greater": np.greater, "greater_equal": np.greater_equal,
    "less": np.less, "less_equal": np.less_equal,
}  # fmt: skip
LOGICAL = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}


def binary_cases() -> list[Case]:
    cases = []
    for op, f in BINARY.items():
        cases += [
            case(f"{op}-same-shape", op, f(X, Y), x=X, y=Y),
            case(f"{op}-row", op, f(X, ROW), x=X, y=ROW),
            case(f"{op}-scalar-constant", op, f(X, np.float32(0.75)), x=X, y=Const(0.75)),
            case(f"{op}-constant-first", op, f(ROW, X), x=Const(ROW), y=X),
            case(f"{op}-outer", op, f(X[:, :1], X[:1]), x=X[:, :1], y=X[:1]),
            case(f"{op}-int32", op, f(INT_X, INT_Y), x=INT_X, y=INT_Y),
            case(f"{op}-int32-scalar", op, f(INT_X, np.int32(3)), x=INT_X, y=Const(3)),
            case(f"{op}-rank-0", op, f(SCALAR, np.float32(1.5)), x=SCALAR, y=Const(1.5)),
        ]
    equal = np.array([1, 2, 3], np.float32)
    for op in ("equal", "not_equal", "greater_equal", "less_equal", "greater", "less"):
        cases.append(case(f"{op}-ties", op, BINARY[op](equal, equal[::-1]), x=equal, y=equal[::-1]))
    for op, f in LOGICAL.items():
        a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
        cases.append(case(op, op, f(a, b), x=a, y=b))
    cases += [
        case("real_div", "real_div", X / POSITIVE, x=X, y=POSITIVE),
        case("real_div-int32", "real_div", i32([3, -3, -3, 0]), x=i32([7, -7, 7, 1]), y=i32([2, 2, -2, 2])),
        case("real_div-by-zero", "real_div", np.array([np.inf, -np.inf], np.float32),
             x=np.array([1, -1], np.float32), y=Const(0.0)),
        case("pow", "pow", POSITIVE**Y, x=POSITIVE, y=Y),
        case("pow-square-of-negative", "pow", X**2, x=X, y=Const(2.0)),
        case("pow-int32", "pow", i32([8, -27, 1]), x=i32([2, -3, 5]), y=i32([3, 3, 0])),
        case("mod-large-float", "mod", np.mod(np.float32(1e7), np.float32(-0.7)), x=np.float32(1e7), y=Const(-0.7)),
        case("mod-float-signs", "mod", np.array([1, 2, -2, -1, 0], np.float32),
             x=np.array([7, -7, 7, -7, 6], np.float32), y=np.array([3, 3, -3, -3, -3], np.float32)),
        case("floor_div-int32-lowest", "floor_div", i32([-715827883, -(2**31) // 7]),
             x=i32([-(2**31), -(2**31)]), y=i32([3, 7])),
    ]  # fmt: skip
    return cases


UNARY = {
    "abs": np.abs, "atan": np.arctan, "ceil": np.ceil, "cos": np.cos, "cosh": np.cosh, "exp": np.exp,
    "exp2": np.exp2, "floor": np.floor, "sign": np.sign, "sin": np.sin, "sinh": np.sinh, "square": np.square,
    "tan": np.tan, "tanh": np.tanh, "erf": np.vectorize(math.erf, otypes=[np.float32]),
}  # fmt: skip
UNIT = {"acos": np.arccos, "asin": np.arcsin, "atanh": np.arctanh}


def unary_cases() -> list[Case]:
    cases = [case(op, op, f(X), x=X) for op, f in UNARY.items()]
    cases += [case(f"{op}-rank-0", op, np.asarray(f(SCALAR)), x=SCALAR) for op, f in UNARY.items()]
    unit = floats(3, 5, low=-0.99, high=0.99)
    cases += [case(op, op, f(unit), x=unit) for op, f in UNIT.items()]
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.4], np.float32)
    zero = np.zeros(2, np.float32)
    half_zero = zero.astype(np.float16)
    with np.errstate(divide="ignore"):
        cases += [
            case("round-halves-to-even", "round", np.round(halves), x=halves),
            case("sqrt", "sqrt", np.sqrt(POSITIVE), x=POSITIVE),
            case("sign-zero", "sign", np.array([0, -1, 1], np.float32), x=np.array([0, -3, 3], np.float32)),
            case("abs-int32", "abs", np.abs(INT_X), x=INT_X),
            case("sign-int32", "sign", np.sign(INT_X), x=INT_X),
            case("square-int32", "square", i32([49, 0]), x=i32([-7, 0])),
            case("exp2-int32", "exp2", i32([1, 2, 1024]), x=i32([0, 1, 10])),
            case("logical_not", "logical_not", np.array([False, True]), x=np.array([True, False])),
            case("rsqrt-default", "rsqrt", 1 / np.sqrt(POSITIVE), x=POSITIVE),
            case("rsqrt-epsilon", "rsqrt", 1 / np.sqrt(POSITIVE + 0.25), x=POSITIVE, epsilon=Const(0.25)),
            case("rsqrt-zero", "rsqrt", np.full(2, 1e6, np.float32), x=zero, epsilon=Const(1e-12)),
            case("inverse-default", "inverse", 1 / (POSITIVE + np.float32(1e-4)), x=POSITIVE),
            case("inverse-epsilon", "inverse", 1 / (POSITIVE + 0.5), x=POSITIVE, epsilon=Const(0.5)),
            case("log-epsilon", "log", np.log(POSITIVE + 0.5), x=POSITIVE, epsilon=Const(0.5)),
            case("log-default-of-zero", "log", np.log(zero + np.float32(1e-45)), x=zero),
            case("log-default-of-zero-fp16", "log", np.log(half_zero), x=half_zero),
            case("clip", "clip", np.clip(X, -0.5, 1), x=X, alpha=Const(-0.5), beta=Const(1.0)),
            case("clip-infinite", "clip", np.maximum(X, 0), x=X, alpha=Const(0.0), beta=Const(np.inf)),
            case("threshold", "threshold", np.maximum(X, np.float32(0.3)), x=X, alpha=Const(0.3)),
            case("threshold-int32", "threshold", np.maximum(INT_X, 3), x=INT_X, alpha=Const(3)),
        ]
    return cases


def cast_cases() -> list[Case]:
    wide = np.array([2049, -4097, 70000, 0], np.int32)
    fine = np.array([1 / 3, 65519, 1e-8, -2.7], np.float32)
    signed = np.array([-2.7, -0.5, 0.0, 0.5, 2.7], np.float32)
    fp16 = {"dtypes": ("fp16",)}
    with np.errstate(over="ignore"):
        rounded = [fine.astype(np.float16).astype(np.float32), wide.astype(np.float16).astype(np.float32)]
    return [
        case("cast-fp32-to-fp16-rounds", "cast", rounded[0], x=fine, dtype=Const("fp16"), like=fp16),
        case("cast-int32-to-fp16-rounds", "cast", rounded[1], x=wide, dtype=Const("fp16"), like=fp16),
        case("cast-fp16-to-fp32", "cast", X.astype(np.float16).astype(np.float32),
             x=X.astype(np.float16), dtype=Const("fp32")),
        case("cast-fp32-to-int32-truncates", "cast", i32([-2, 0, 0, 0, 2]), x=signed, dtype=Const("int32")),
        case("cast-fp32-to-bool", "cast", signed != 0, x=signed, dtype=Const("bool")),
        case("cast-int32-to-bool", "cast", wide != 0, x=wide, dtype=Const("bool")),
        case("cast-bool-to-fp32", "cast", np.array([1, 0], np.float32), x=np.array([True, False]), dtype=Const("fp32")),
        case("cast-bool-to-int32", "cast", i32([1, 0]), x=np.array([True, False]), dtype=Const("int32")),
        case("cast-int32-to-fp32", "cast", wide.astype(np.float32), x=wide, dtype=Const("fp32")),
        *(
            case(f"cast-int32-to-{t.__name__}", "cast", np.array([0, 5, 100], t),
                 x=i32([0, 5, 100]), dtype=Const(t.__name__), like={"opset": "CoreML7"})
            for t in (np.int8, np.uint8, np.int16, np.uint16)
        ),
        *(
            case(f"cast-{t.__name__}-to-fp32", "cast", np.array([0, 5, 100], np.float32),
                 x=np.array([0, 5, 100], t), dtype=Const("fp32"), like={"opset": "CoreML7"})
            for t in (np.int8, np.uint8, np.int16, np.uint16)
        ),
    ]  # fmt: skip


def select_cases() -> list[Case]:
    cond = X > 0
    cases = [
        case("select", "select", np.where(cond, X, Y), cond=cond, a=X, b=Y),
        case("select-broadcast", "select", np.where(cond, ROW, np.float32(-1)), cond=cond, a=ROW, b=Const(-1.0)),
        case("select-int32", "select", np.where(INT_X > 0, INT_X, INT_Y), cond=INT_X > 0, a=INT_X, b=INT_Y),
        case("select-scalar-condition", "select", Y, cond=np.array(False), a=X, b=Y),
        case("select-drops-nan", "select", np.array([1, 2], np.float32), cond=np.array([True, False]),
             a=np.array([1, np.nan], np.float32), b=np.array([np.inf, 2], np.float32)),
    ]  # fmt: skip
    a, b = np.array([True, False, True]), np.array([False, False, True])
    mask = np.array([True, True, False])
    cases.append(case("select-bool", "select", np.where(mask, a, b), cond=mask, a=a, b=b))
    return cases


CASES = binary_cases() + unary_cases() + cast_cases() + select_cases()


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_fixed(example: Case) -> None:
    check(example)


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_flexible(example: Case) -> None:
    check(example, flexible=True)


def test_integer_division_by_zero_is_an_error() -> None:
    with pytest.raises(Exception, match="by zero"):
        run(case("", "floor_div", i32([0]), x=i32([1]), y=i32([0])))
