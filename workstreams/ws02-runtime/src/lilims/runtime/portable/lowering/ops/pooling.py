"""`max_pool`, `avg_pool`, `l2_pool`.

Source of the output size with ceil_mode: coremltools, `mil/ops/defs/_utils.py` (`spatial_dimensions_out_shape`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...program import Op
from ..scope import Scope, lowers
from .common import Attributes, bounded, unsupported
from .convolution import window_padding


@dataclass(frozen=True)
class Window:
    """A pooling window; `overhang` is what ceil_mode lets the last window reach beyond the padding."""

    kernel: list[int]
    strides: list[int]
    padding: Attributes
    overhang: list[int]

    def attributes(self) -> Attributes:
        """For ONNX, the overhang counted as padding."""
        padding = dict(self.padding)
        if any(self.overhang):
            pads, rank = padding["pads"], len(self.kernel)
            assert isinstance(pads, list)
            padding["pads"] = [*pads[:rank], *(p + o for p, o in zip(pads[rank:], self.overhang, strict=True))]
        return {"kernel_shape": self.kernel, "strides": self.strides, **padding}


def _window(scope: Scope, op: Op) -> Window:
    kernel = scope.ints(op, "kernel_sizes")
    rank = len(kernel)
    strides = scope.ints(op, "strides", None) or [1] * rank
    padding = window_padding(scope, op, kernel, strides, [1] * rank)
    overhang = [0] * rank
    if scope.scalar(op, "ceil_mode", False):
        overhang = _overhang(scope, op, kernel, strides, padding["pads"])
    return Window(kernel, strides, padding, overhang)


def _overhang(scope: Scope, op: Op, kernel: list[int], strides: list[int], pads: object) -> list[int]:
    assert isinstance(pads, list)
    rank, result = len(kernel), []
    for axis, size in enumerate(scope.type(op, "x").shape[2:]):
        if size is None:
            raise unsupported(scope, op, "ceil_mode on a flexible shape")
        k, s, before, after = kernel[axis], strides[axis], pads[axis], pads[rank + axis]
        count = (size + before + after - k + s - 1) // s + 1
        if before + after > 0 and (count - 1) * s >= size + before:
            count -= 1
        last = (count - 1) * s
        if last >= size + before:
            raise unsupported(scope, op, "ceil_mode with a window that lies outside the input")
        result.append(max(0, last + k - (size + before + after)))
    return result


@lowers("max_pool")
def max_pool(scope: Scope, op: Op) -> None:
    scope.bind(op, scope.emit("MaxPool", scope.input(op, "x"), **_window(scope, op).attributes()))


@lowers("avg_pool")
def avg_pool(scope: Scope, op: Op) -> None:
    """The mean over the window. Padding counts unless it is excluded, what ceil_mode adds never does."""
    window = _window(scope, op)
    excluded = bool(scope.scalar(op, "exclude_padding_from_average", False))
    how = window.attributes()
    pooled = scope.emit("AveragePool", scope.input(op, "x"), count_include_pad=int(not excluded), **how)
    if any(window.overhang) and not excluded:
        for axis in range(len(window.kernel)):
            factor = scope.array(_counted(scope, op, window, axis), "float32")
            pooled = scope.emit("Mul", pooled, factor)
    scope.bind(op, pooled)


def _counted(scope: Scope, op: Op, window: Window, axis: int) -> Sequence[float]:
    """Kernel size over the number of elements that count, for every output of one dimension; shaped to broadcast."""
    pads, rank = window.padding["pads"], len(window.kernel)
    size = scope.type(op, "x").shape[2 + axis]
    assert isinstance(pads, list) and size is not None  # ceil_mode is for fixed shapes
    k, s, whole = window.kernel[axis], window.strides[axis], size + pads[axis] + pads[rank + axis]
    outputs = (whole + window.overhang[axis] - k) // s + 1
    bounded(op, outputs)
    factors = np.array([k / (min(i * s + k, whole) - i * s) for i in range(outputs)])
    return factors.reshape([-1 if dim == axis else 1 for dim in range(rank)])  # type: ignore[return-value]


@lowers("l2_pool")
def l2_pool(scope: Scope, op: Op) -> None:
    """The root of the sum of squares over the window."""
    x, window = scope.input(op, "x"), _window(scope, op)
    mean = scope.emit("AveragePool", scope.emit("Mul", x, x), count_include_pad=1, **window.attributes())
    total = scope.emit("Mul", mean, scope.array(math.prod(window.kernel), "float32"))
    scope.bind(op, scope.emit("Sqrt", total))
