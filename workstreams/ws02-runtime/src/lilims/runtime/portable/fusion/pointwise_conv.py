"""A 1×1 convolution with a quantised weight as the product that it is.

    Given                                                  Result
    %w = constexpr_blockwise_shift_scale(                  %v = constexpr_blockwise_shift_scale([N,K], [N,K/block])
             data=[N,K,1,1], scale=[N,K/block,1,1])        %t = transpose(squeeze(%x))              [B,S,K]
    %y = conv(x=%x, weight=%w, bias=%b)                    %p = linear(x=%t, weight=%v, bias=%b)    [B,S,N]
         x [B,K,1,S], stride 1, no padding, one group      %y = expand_dims(transpose(%p))          [B,N,1,S]

The linear is then taken by `quantized_linear`; only what that takes is rewritten. ONNX Runtime has no convolution over
codes, so the plain lowering unpacks the weight to float32.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from ..lowering.scope import Precision
from ..program import Argument, Constant, Function, Op, Ref, TensorType, Value
from .match import Index, literal_argument, single
from .weights import quantized_matrix

__all__ = ["rewrite"]

_PARTS = ("data", "scale", "offset")


def rewrite(function: Function, precision: Precision) -> Function:
    index = Index(function)
    return replace(function, ops=tuple(new for op in function.ops for new in _rewritten(op, index, precision)))


def _rewritten(op: Op, index: Index, precision: Precision) -> list[Op]:
    weight = _weight(op, index, precision)
    x = index.tensor(single(op, "x"))
    if weight is None or x is None or x.rank != 4 or x.shape[2] != 1 or not _plain(op, index):
        return [op]
    batch, channels, _, tokens = x.shape
    rows, name = weight["data"].type.shape[0], op.outputs[0].name

    def step(kind: str, part: str, shape: tuple[int | None, ...], **inputs: Argument) -> Op:
        output = Value(f"{name}#{part}", TensorType(x.dtype, shape))
        return Op(kind, f"{op.name}#{part}", {key: (value,) for key, value in inputs.items()}, (output,))

    axes, turn = literal_argument([2], "int32"), literal_argument([0, 2, 1], "int32")
    linear = step("linear", "product", (batch, tokens, rows), x=Ref(f"{name}#turned"), weight=Ref(f"{name}#weight"))
    if op.inputs.get("bias"):
        linear = linear.with_inputs(bias=op.inputs["bias"])
    last = step("expand_dims", "out", (), x=Ref(f"{name}#back"), axes=axes)
    return [
        step("squeeze", "in", (batch, channels, tokens), x=op.inputs["x"][0], axes=axes),
        step("transpose", "turned", (batch, tokens, channels), x=Ref(f"{name}#in"), perm=turn),
        step("constexpr_blockwise_shift_scale", "weight", (rows, channels), **weight),
        linear,
        step("transpose", "back", (batch, rows, tokens), x=Ref(f"{name}#product"), perm=turn),
        replace(last, outputs=op.outputs),
    ]


def _weight(op: Op, index: Index, precision: Precision) -> dict[str, Constant] | None:
    """The parts of a conv's weight as those of a matrix, where `quantized_linear` takes it."""
    if op.type != "conv":
        return None
    maker = index.maker(single(op, "weight"), "constexpr_blockwise_shift_scale")
    if maker is None:
        return None
    parts = {}
    for key in _PARTS:
        literal = index.literal(maker, key)
        if literal is not None:
            parts[key] = _flat(literal)
        elif maker.inputs.get(key):
            return None
    data, scale = parts.get("data"), parts.get("scale")
    if data is None or scale is None:
        return None
    matrix = quantized_matrix(data, scale, parts.get("offset"), remainders=True)
    return parts if matrix is not None and not (precision == "exact" and matrix.bits == 8) else None


def _flat(constant: Constant) -> Constant:
    """[N, K, 1, 1] as [N, K]; anything else as it is."""
    shape = tuple(size or 0 for size in constant.type.shape)
    if len(shape) != 4 or prod(shape[2:]) != 1:
        return constant
    return replace(
        constant,
        type=TensorType(constant.type.dtype, shape[:2]),
        load=lambda: constant.load().reshape(shape[:2]),
    )


def _plain(op: Op, index: Index) -> bool:
    """Whether each output is made from the input at its own place."""
    strides = index.value(op, "strides", [1, 1])
    return (
        index.value(op, "pad_type", "valid") == "valid"
        and strides is not Ellipsis
        and all(stride == 1 for stride in strides)
        and index.value(op, "groups", 1) == 1
    )
