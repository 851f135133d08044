"""Root-mean-square normalisation over the last axis.

    Given                                                       Result
    %m = maximum(reduce_max(abs(%x), axes=-1), tiny)            %y = lilims.rms_norm(
    %s = real_div(%x, %m); %e = real_div(c, %m)                         x=%x, gamma=g, epsilon=c²)
    %q = add(reduce_mean(mul(%s, %s), axes=-1), mul(%e, %e))
    %y = mul(mul(%s, rsqrt(%q)), g)                             which is RMSNormalization (ONNX opset 23)

      or, without the scaling that keeps fp16 from overflowing:

    %q = add(reduce_mean(mul(%x, %x), axes=-1), c)              epsilon=c, or that of rsqrt
    %y = mul(mul(%x, rsqrt(%q)), g)

Dividing by m and c by m cancels out: s / sqrt(mean(s²) + (c/m)²) = x / sqrt(mean(x²) + c²). In float32 nothing
overflows, so the scaling is not needed there. Either factor of a product may come first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..lowering.scope import Precision, Scope, lowers
from ..program import Argument, Function, Op, Ref
from .match import Index, literal_argument, single

__all__ = ["rewrite"]

_PSEUDO = "lilims.rms_norm"


def rewrite(function: Function, precision: Precision) -> Function:
    index = Index(function)
    return replace(function, ops=tuple(_rewritten(op, index) for op in function.ops))


def _rewritten(op: Op, index: Index) -> Op:
    if op.type != "mul":
        return op
    for scaled, gamma in _either(op):
        weight = index.literal(replace(op, inputs={"gamma": (gamma,)}), "gamma")
        inner = index.maker(scaled, "mul")
        if weight is None or inner is None or weight.type.rank != 1 or not index.used_once(scaled):
            continue
        for x, factor in _either(inner):
            found = _normalized(index, x, factor)
            tensor = index.tensor(found[0]) if found else None
            if found and tensor and tensor.shape and tensor.shape[-1] == weight.type.shape[0]:
                epsilon = literal_argument(found[1], "fp32")
                return Op(_PSEUDO, op.name, {"x": (found[0],), "gamma": (weight,), "epsilon": (epsilon,)}, op.outputs)
    return op


def _normalized(index: Index, x: Argument, factor: Argument) -> tuple[Argument, float] | None:
    """What is normalised, and epsilon, if `factor` is 1 / sqrt(mean(x²) + epsilon)."""
    rsqrt = index.maker(factor, "rsqrt")
    total = index.maker(single(rsqrt, "x"), "add", "reduce_mean") if rsqrt else None
    own = index.value(rsqrt, "epsilon", 1e-12) if rsqrt else None
    if total is None or not isinstance(own, float):
        return None
    if total.type == "reduce_mean":
        return (x, own) if _mean_of_squares(index, total, x) else None
    for mean, constant in _either(total):
        op = index.maker(mean, "reduce_mean")
        if op is None or not _mean_of_squares(index, op, x):
            continue
        literal = index.literal(replace(op, inputs={"c": (constant,)}), "c")
        if literal is not None and literal.type.shape == ():
            return x, own + float(literal.load().item())
        return _unscaled(index, x, constant) if own < 1e-30 else None
    return None


def _mean_of_squares(index: Index, mean: Op, x: Argument) -> bool:
    square = index.maker(single(mean, "x"), "mul", "square")
    tensor = index.tensor(x)
    if square is None or tensor is None or index.value(mean, "keep_dims", False) is not True:
        return False
    squares = single(square, "x") == x and (square.type == "square" or single(square, "y") == x)
    return squares and index.value(mean, "axes") in ([-1], [tensor.rank - 1])


def _unscaled(index: Index, scaled: Argument, constant: Argument) -> tuple[Argument, float] | None:
    """x and c², where `scaled` is x / m and `constant` is (c / m)²; m is the largest |x|, or a bound below it."""
    square = index.maker(constant, "mul")
    by_m, c_by_m = index.maker(scaled, "real_div"), index.maker(single(square, "x"), "real_div") if square else None
    if square is None or by_m is None or c_by_m is None or single(square, "x") != single(square, "y"):
        return None
    x, m, c = single(by_m, "x"), single(by_m, "y"), index.value(c_by_m, "x")
    maximum = index.maker(m, "maximum")
    if single(c_by_m, "y") != m or not isinstance(c, float) or maximum is None or not isinstance(x, Ref):
        return None
    for largest, floor in _either(maximum):
        reduce = index.maker(largest, "reduce_max")
        absolute = index.maker(single(reduce, "x"), "abs") if reduce else None
        bound = index.literal(replace(maximum, inputs={"c": (floor,)}), "c")
        if absolute is not None and single(absolute, "x") == x and bound is not None and float(bound.load().min()) > 0:
            return x, c * c
    return None


def _either(op: Op) -> Iterator[tuple[Argument, Argument]]:
    x, y = single(op, "x"), single(op, "y")
    if x is not None and y is not None:
        yield x, y
        yield y, x


@lowers(_PSEUDO)
def rms_norm(scope: Scope, op: Op) -> None:
    epsilon = scope.scalar(op, "epsilon")
    scope.bind(
        op, scope.emit("RMSNormalization", scope.input(op, "x"), scope.input(op, "gamma"), axis=-1, epsilon=epsilon)
    )
