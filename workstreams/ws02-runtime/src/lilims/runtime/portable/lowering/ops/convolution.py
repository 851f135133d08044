"""`conv` and `conv_transpose` in one, two and three dimensions, and how MIL pads windows.

Source of the padding rules: coremltools, `mil/ops/defs/_utils.py` (`aggregated_pad`). `same` puts the odd element
after, `same_lower` before.
"""

from __future__ import annotations

from collections.abc import Sequence

from lilims.core.errors import PackageError

from ...program import Op
from ..scope import Scope, lowers
from .common import Attributes, unsupported

AUTO_PAD = {"same": "SAME_UPPER", "same_lower": "SAME_LOWER"}


def split_padding(total: int, pad_type: str) -> tuple[int, int]:
    """The padding before and after of a padding in all."""
    small, large = total // 2, total - total // 2
    return (large, small) if pad_type == "same_lower" else (small, large)


def window_padding(
    scope: Scope, op: Op, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Attributes:
    """The ONNX attributes that pad as the op's `pad_type` and `pad` say."""
    pad_type = str(scope.scalar(op, "pad_type", "valid")).lower()
    rank = len(kernel)
    if pad_type == "valid":
        return {"pads": [0] * 2 * rank}
    if pad_type == "custom":
        pad = scope.ints(op, "pad", [0] * 2 * rank)
        if len(pad) != 2 * rank:
            raise PackageError(f"op {op.type} has {len(pad)} paddings for {rank} dimensions", where=op.name)
        return {"pads": [*pad[0::2], *pad[1::2]]}
    if pad_type not in AUTO_PAD:
        raise unsupported(scope, op, f"pad_type {pad_type!r} is not known")
    pairs = []
    for size, k, s, d in zip(scope.type(op, "x").shape[2:], kernel, strides, dilations, strict=True):
        if size is None:
            if all(k == 1 for k in kernel):
                return {"pads": [0] * 2 * rank}
            if any(dilation != 1 for dilation in dilations):
                raise unsupported(scope, op, f"pad_type {pad_type!r} with dilations on a flexible shape")
            if op.type != "conv" and any(k < s for k, s in zip(kernel, strides, strict=True)):
                raise unsupported(scope, op, f"pad_type {pad_type!r} with gaps between windows on a flexible shape")
            return {"auto_pad": AUTO_PAD[pad_type]}
        total = max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
        pairs.append(split_padding(total, pad_type))
    return {"pads": [before for before, _ in pairs] + [after for _, after in pairs]}


def _kernel(scope: Scope, op: Op) -> list[int]:
    shape = scope.type(op, "weight").shape[2:]
    kernel = [size for size in shape if size is not None]
    if len(kernel) != len(shape) or not kernel:
        raise unsupported(scope, op, "a weight of flexible shape")
    return kernel


def _bias(scope: Scope, op: Op) -> list[str]:
    return [scope.input(op, "bias")] if scope.has(op, "bias") else []


def _groups(scope: Scope, op: Op) -> int:
    groups = int(scope.scalar(op, "groups", 1))
    if groups < 1:  # ONNX Runtime divides by it
        raise PackageError(f"op {op.type} has {groups} groups", where=op.name)
    return groups


@lowers("conv")
def conv(scope: Scope, op: Op) -> None:
    kernel = _kernel(scope, op)
    strides, dilations = (scope.ints(op, key, None) or [1] * len(kernel) for key in ("strides", "dilations"))
    padding = window_padding(scope, op, kernel, strides, dilations)
    groups = _groups(scope, op)
    inputs = (scope.input(op, "x"), scope.input(op, "weight"), *_bias(scope, op))
    how: Attributes = {"strides": strides, "dilations": dilations, "group": groups, "kernel_shape": kernel, **padding}
    scope.bind(op, scope.emit("Conv", *inputs, **how))


@lowers("conv_transpose")
def conv_transpose(scope: Scope, op: Op) -> None:
    """The full result, (D - 1) · stride + dilated kernel, less what the padding or the wanted shape cuts off."""
    kernel = _kernel(scope, op)
    strides, dilations = (scope.ints(op, key, None) or [1] * len(kernel) for key in ("strides", "dilations"))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    before, after = _cuts(scope, op, strides, spans)
    extra = [max(0, -cut) for cut in after]  # fewer than nothing cut off: rows that no window reaches
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)) or min(before) < 0:
        raise unsupported(scope, op, "an output larger than the windows reach")
    inputs = (scope.input(op, "x"), scope.input(op, "weight"), *_bias(scope, op))
    groups = _groups(scope, op)
    pads = [*before, *(max(0, cut) for cut in after)]
    how: Attributes = {"strides": strides, "dilations": dilations, "group": groups, "kernel_shape": kernel}
    scope.bind(op, scope.emit("ConvTranspose", *inputs, pads=pads, output_padding=extra, **how))


def _cuts(scope: Scope, op: Op, strides: Sequence[int], spans: Sequence[int]) -> tuple[list[int], list[int]]:
    """How many rows each dimension of the full result loses before and after."""
    pad_type, rank = str(scope.scalar(op, "pad_type", "valid")).lower(), len(spans)
    custom = scope.ints(op, "pad", [0] * 2 * rank) if pad_type == "custom" else [0] * 2 * rank
    before, after = list(custom[0::2]), list(custom[1::2])
    if pad_type not in ("valid", "custom", "same"):
        raise unsupported(scope, op, f"pad_type {pad_type!r} is not known")
    wanted = scope.ints(op, "output_shape", None)
    for axis, (stride, span, size) in enumerate(zip(strides, spans, scope.type(op, "x").shape[2:], strict=True)):
        if wanted is not None:
            if size is None:
                raise unsupported(scope, op, "an output_shape for a flexible shape")
            total = (size - 1) * stride + span - wanted[2 + axis]
        elif pad_type == "same":
            total = span - stride  # the result has D · stride
        else:
            continue
        if pad_type == "same":
            before[axis] = max(total, 0) // 2
        after[axis] = total - before[axis]
    return before, after
