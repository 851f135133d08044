"""Elementwise arithmetic, comparison, logic, unary functions, `cast`, `clip` and `select`.

Binary ops broadcast as NumPy does, which is also ONNX's rule. Integer division and remainder round towards minus
infinity, as in coremltools' value inference.
"""

from __future__ import annotations

from ...program import Op
from ..scope import Scope, lowers
from .common import cast_between, output_type, with_dtype

BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "pow": "Pow", "maximum": "Max", "minimum": "Min",
    "equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual",
    "less": "Less", "less_equal": "LessOrEqual",
    "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor",
}  # fmt: skip

UNARY = {
    "abs": "Abs", "acos": "Acos", "asin": "Asin", "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos",
    "cosh": "Cosh", "erf": "Erf", "exp": "Exp", "floor": "Floor", "logical_not": "Not", "sign": "Sign", "sin": "Sin",
    "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
    "round": "Round",  # both round halves to even
}  # fmt: skip

# Kernels of ONNX Runtime's Where exist for int32 and uint8, not for these.
WHERE_LACKS = ("bool", "int16", "uint16")


@lowers(*BINARY)
def binary(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit(BINARY[op.type], scope.input(op, "x"), scope.input(op, "y")))


@lowers("not_equal")
def not_equal(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Not", scope.emit("Equal", scope.input(op, "x"), scope.input(op, "y"))))


@lowers("real_div")
def real_div(scope: Scope, op: Op) -> None:
    """A quotient of integers is cut off towards zero, in int64 as it may leave int32."""
    x, y, dtype = scope.input(op, "x"), scope.input(op, "y"), output_type(op).dtype
    if output_type(op).is_float:
        return scope.bind(op, scope.emit("Div", x, y))
    return scope.bind(op, scope.cast(scope.emit("Div", scope.cast(x, "int64"), scope.cast(y, "int64")), dtype))


@lowers("floor_div")
def floor_div(scope: Scope, op: Op) -> None:
    x, y = scope.input(op, "x"), scope.input(op, "y")
    dtype = output_type(op).dtype
    if output_type(op).is_float:
        return scope.bind(op, scope.emit("Floor", scope.emit("Div", x, y)))
    # Div truncates towards zero: take the floor's remainder off first, in int64 as that may leave int32.
    x, y = scope.cast(x, "int64"), scope.cast(y, "int64")
    whole = scope.emit("Sub", x, scope.emit("Mod", x, y))
    return scope.bind(op, scope.cast(scope.emit("Div", whole, y), dtype))


@lowers("mod")
def mod(scope: Scope, op: Op) -> None:
    x, y, dtype = scope.input(op, "x"), scope.input(op, "y"), output_type(op).dtype
    if not output_type(op).is_float:  # the divisor's sign, as in Python; in int64: -2³¹ by -1 ends the process in int32
        rest = scope.emit("Mod", scope.cast(x, "int64"), scope.cast(y, "int64"))
        return scope.bind(op, scope.cast(rest, dtype))
    # C's fmod has the dividend's sign, and for floats ONNX has no other: move it to the divisor's side.
    rest, zero = scope.emit("Mod", x, y, fmod=1), scope.array(0, "float32")
    other_side = scope.emit("Less", scope.emit("Mul", scope.emit("Sign", rest), scope.emit("Sign", y)), zero)
    return scope.bind(op, scope.emit("Where", other_side, scope.emit("Add", rest, y), rest))


@lowers(*UNARY)
def unary(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit(UNARY[op.type], scope.input(op, "x")))


@lowers("square")
def square(scope: Scope, op: Op) -> None:
    x = scope.input(op, "x")
    scope.bind(op, scope.emit("Mul", x, x))


@lowers("exp2")
def exp2(scope: Scope, op: Op) -> None:
    two = scope.array(2, "float32" if output_type(op).is_float else "int32")
    scope.bind(op, scope.emit("Pow", two, scope.input(op, "x")))


def _with_epsilon(scope: Scope, op: Op, default: float) -> str:
    """x + epsilon; fp16 rounds the defaults below its smallest number to zero."""
    epsilon = scope.input(op, "epsilon") if scope.has(op, "epsilon") else ""
    if not epsilon:
        value = scope.array(default, "float16" if scope.type(op, "x").dtype == "fp16" else "float32")
        epsilon = scope.cast(value, "fp32") if scope.type(op, "x").dtype == "fp16" else value
    return scope.emit("Add", scope.input(op, "x"), epsilon)


@lowers("inverse")
def inverse(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Reciprocal", _with_epsilon(scope, op, 1e-4)))


@lowers("rsqrt")
def rsqrt(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Reciprocal", scope.emit("Sqrt", _with_epsilon(scope, op, 1e-12))))


@lowers("log")
def log(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Log", _with_epsilon(scope, op, 1e-45)))


@lowers("clip")
def clip(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Clip", scope.input(op, "x"), scope.input(op, "alpha"), scope.input(op, "beta")))


@lowers("threshold")
def threshold(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("Max", scope.input(op, "x"), scope.input(op, "alpha")))


@lowers("cast")
def cast(scope: Scope, op: Op) -> None:
    source, target = scope.type(op, "x").dtype, output_type(op).dtype
    value = cast_between(scope, scope.input(op, "x"), source, target)
    if target == "fp16" and source not in ("fp16", "bool", "int8", "uint8"):  # these are exact in fp16
        value = scope.round_fp16(value)
    scope.bind(op, value)


@lowers("select")
def select(scope: Scope, op: Op) -> None:
    condition = scope.input(op, "cond")
    values = [scope.input(op, "a"), scope.input(op, "b")]
    dtype = output_type(op).dtype
    pick = with_dtype(scope, dtype, WHERE_LACKS, "int32", values, lambda a, b: scope.emit("Where", condition, a, b))
    scope.bind(op, pick)
