"""Resizing of the last dimensions: `upsample_*`, `resize_*`, `resize`.

Each dimension is resized by itself: the places to read are computed (in double precision, as a fraction must not fall
on the wrong side of an integer), then gathered, and for linear modes mixed. ONNX's Resize lacks some of MIL's grids.
Source of the grids: coremltools, documentation of `resize_bilinear`.
"""

from __future__ import annotations

from onnx import TensorProto

from ...program import Op
from ..scope import Scope, lowers
from .common import dimension, output_type, unsupported, vector_input

MODES = ("DEFAULT", "UNALIGN_CORNERS", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS")


def _double(scope: Scope, value: str) -> str:
    return scope.emit("Cast", value, to=TensorProto.DOUBLE)


def _number(scope: Scope, value: float) -> str:
    return scope.array(value, "float64")


def grid(scope: Scope, mode: str, size: str, target: str) -> str:
    """Where the `target` output elements lie among `size` input elements, as doubles; so are both sizes."""
    zero, one, half = _number(scope, 0), _number(scope, 1), _number(scope, 0.5)
    last = scope.emit("Sub", size, one)
    steps = scope.emit("Range", zero, target, one)
    if mode in ("DEFAULT", "UNALIGN_CORNERS"):
        if mode == "UNALIGN_CORNERS":
            steps = scope.emit("Add", steps, half)
        places = scope.emit("Div", scope.emit("Mul", steps, size), target)
        if mode == "UNALIGN_CORNERS":
            places = scope.emit("Sub", places, half)
    elif mode == "OFFSET_CORNERS":
        spacing = scope.emit("Div", scope.emit("Max", one, last), target)
        places = scope.emit("Mul", scope.emit("Add", steps, half), spacing)
    else:
        gaps = scope.emit("Max", scope.emit("Sub", target, one), one)
        places = scope.emit("Div", scope.emit("Mul", steps, last), gaps)
        if mode == "ALIGN_CORNERS":  # a single element is read in the middle
            centre = scope.emit("Mul", last, half)
            places = scope.emit("Where", scope.emit("Equal", target, one), centre, places)
    return scope.emit("Min", scope.emit("Max", places, zero), last)


def _resize(scope: Scope, x: str, axis: int, mode: str, target: str, linear: bool, rounded: bool = False) -> str:
    """One dimension (`axis` < 0) resized to `target` elements, a double scalar; without `rounded`, places go down."""
    size = _double(scope, scope.emit("Squeeze", dimension(scope, x, axis)))
    places = grid(scope, mode, size, target)
    if rounded:  # halves down, so that twice the size repeats every element
        places = scope.emit("Ceil", scope.emit("Sub", places, _number(scope, 0.5)))
    low = scope.emit("Floor", places)
    below = scope.cast(low, "int64")
    first = scope.emit("Gather", x, below, axis=axis)
    if not linear:
        return first
    top = scope.cast(scope.emit("Sub", size, _number(scope, 1)), "int64")
    above = scope.emit("Min", scope.emit("Add", below, scope.array(1, "int64")), top)
    share = scope.cast(scope.emit("Sub", places, low), "fp32")
    share = scope.emit("Reshape", share, scope.array([-1] + [1] * (-axis - 1), "int64"))
    second = scope.emit("Gather", x, above, axis=axis)
    return scope.emit("Add", first, scope.emit("Mul", scope.emit("Sub", second, first), share))


def _resize_image(scope: Scope, op: Op, targets: tuple[str, str], mode: str, linear: bool) -> None:
    """The last two dimensions, to sizes given as double scalars."""
    x = _resize(scope, scope.input(op, "x"), -2, mode, targets[0], linear)
    scope.bind(op, _resize(scope, x, -1, mode, targets[1], linear))


def _scaled(scope: Scope, op: Op) -> tuple[str, str]:
    """The sizes floor(size · factor), the product in single precision: 5 · 2.6 is 13, and less in double."""
    targets = []
    for key, axis in (("scale_factor_height", -2), ("scale_factor_width", -1)):
        size = scope.cast(scope.emit("Squeeze", dimension(scope, scope.input(op, "x"), axis)), "fp32")
        factor = scope.array(float(scope.scalar(op, key, 1)), "float32")
        targets.append(_double(scope, scope.emit("Floor", scope.emit("Mul", size, factor))))
    return targets[0], targets[1]


def _wanted(scope: Scope, op: Op, default: int) -> tuple[str, str]:
    height, width = (
        _number(scope, float(scope.scalar(op, key, default))) for key in ("target_size_height", "target_size_width")
    )
    return height, width


@lowers("upsample_nearest_neighbor")
def upsample_nearest_neighbor(scope: Scope, op: Op) -> None:
    _resize_image(scope, op, _scaled(scope, op), "DEFAULT", False)


@lowers("upsample_bilinear")
def upsample_bilinear(scope: Scope, op: Op) -> None:
    align = bool(scope.scalar(op, "align_corners", True))
    half_pixel = bool(scope.scalar(op, "half_pixel_centers", not align))
    if align and half_pixel:
        raise unsupported(scope, op, "align_corners together with half_pixel_centers")
    mode = "STRICT_ALIGN_CORNERS" if align else "UNALIGN_CORNERS" if half_pixel else "DEFAULT"
    _resize_image(scope, op, _scaled(scope, op), mode, True)


@lowers("resize_nearest_neighbor")
def resize_nearest_neighbor(scope: Scope, op: Op) -> None:
    _resize_image(scope, op, _wanted(scope, op, 1), "DEFAULT", False)


def _mode(scope: Scope, op: Op) -> str:
    mode = str(scope.scalar(op, "sampling_mode", "DEFAULT"))
    if mode not in MODES:
        raise unsupported(scope, op, f"sampling_mode {mode!r} is not known")
    return mode


@lowers("resize_bilinear")
def resize_bilinear(scope: Scope, op: Op) -> None:
    _resize_image(scope, op, _wanted(scope, op, 1), _mode(scope, op), True)


@lowers("resize")
def resize(scope: Scope, op: Op) -> None:
    """The last `resized_dims` dimensions to the last elements of `shape`, 0 meaning the size that x has.

    The nearest neighbour is the nearest place of the grid, unlike in the older ops, which take the one before it
    (coremltools' test of the op: 2 elements become 3 by reading the places 0, 1, 1).
    """
    mode, linear = _mode(scope, op), scope.scalar(op, "interpolation_mode", "LINEAR") == "LINEAR"
    if not linear and mode != "DEFAULT":
        raise unsupported(scope, op, f"nearest neighbours with sampling_mode {mode!r}, whose rounding is not defined")
    if linear and not output_type(op).is_float:
        raise unsupported(scope, op, "linear interpolation of integers has no defined rounding")
    count, x = int(scope.scalar(op, "resized_dims")), scope.input(op, "x")
    shape = vector_input(scope, op, "shape")
    for axis in range(-count, 0):
        if isinstance(shape, str):
            here = scope.emit("Squeeze", scope.emit("Gather", shape, scope.array([axis], "int64")))
            size = scope.emit("Squeeze", dimension(scope, x, axis))
            here = scope.emit("Where", scope.emit("Equal", here, scope.array(0, "int64")), size, here)
            x = _resize(scope, x, axis, mode, _double(scope, here), linear, not linear)
        elif shape[axis]:
            x = _resize(scope, x, axis, mode, _number(scope, float(shape[axis])), linear, not linear)
    scope.bind(op, x)
