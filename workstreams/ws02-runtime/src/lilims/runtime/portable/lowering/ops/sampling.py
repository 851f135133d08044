"""Sampling of images at computed places: `resample`, `affine`, `crop_resize`.

Source of the coordinate systems: coremltools, documentation of these ops.
"""

from __future__ import annotations

import numpy as np

from ...program import Op
from ..scope import Scope, lowers
from .common import Attributes, bounded, cast_between, int64_input, static_shape, unsupported

INTERPOLATION = {"bilinear": "linear", "nearest": "nearest"}
PADDING = {"constant": "zeros", "border": "border", "reflection": "border", "symmetric": "border"}  # for GridSample
BOXES = ("CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST")


def _number(scope: Scope, value: object) -> str:
    return scope.array(value, "float32")


def _pixels(scope: Scope, op: Op, coordinates: str, sizes: str) -> str:
    """Coordinates in pixels, 0 being the first pixel's centre; `sizes` holds width and height."""
    mode, aligned = str(scope.scalar(op, "coordinates_mode")), bool(scope.scalar(op, "align_corners"))
    if mode == "unnormalized":
        return coordinates
    if mode == "normalized_minus_one_to_one":
        unit = scope.emit("Mul", scope.emit("Add", coordinates, _number(scope, 1)), _number(scope, 0.5))
    elif mode == "normalized_zero_to_one":
        unit = coordinates
    else:
        raise unsupported(scope, op, f"coordinates_mode {mode!r} is not known")
    if aligned:
        return scope.emit("Mul", unit, scope.emit("Sub", sizes, _number(scope, 1)))
    return scope.emit("Sub", scope.emit("Mul", unit, sizes), _number(scope, 0.5))


def _reflected(scope: Scope, pixels: str, sizes: str, padding: str) -> str:
    """Pixels folded into the image, at the outer pixels' centres (reflection) or at their outer edges (symmetric).

    Done before rounding to a pixel, which GridSample would do first: that moves places halfway between two.
    """
    edge = _number(scope, 0 if padding == "reflection" else 0.5)
    span = scope.emit("Sub", sizes, _number(scope, 1)) if padding == "reflection" else sizes
    period, moved = scope.emit("Mul", span, _number(scope, 2)), scope.emit("Add", pixels, edge)
    turns = scope.emit("Floor", scope.emit("Div", moved, period))
    phase = scope.emit("Sub", moved, scope.emit("Mul", turns, period))
    return scope.emit("Sub", scope.emit("Min", phase, scope.emit("Sub", period, phase)), edge)


@lowers("resample")
def resample(scope: Scope, op: Op) -> None:
    height, width = static_shape(scope, op, "x")[2:]
    sizes = _number(scope, [width, height])
    coordinates = cast_between(scope, scope.input(op, "coordinates"), scope.type(op, "coordinates").dtype, "fp32")
    sampling, padding = str(scope.scalar(op, "sampling_mode")), str(scope.scalar(op, "padding_mode"))
    if sampling not in INTERPOLATION or padding not in PADDING:
        raise unsupported(scope, op, f"sampling_mode {sampling!r} with padding_mode {padding!r}")
    if padding == "reflection" and 1 in (width, height):
        raise unsupported(scope, op, "reflection in a dimension of one element")
    pixels = _pixels(scope, op, coordinates, sizes)
    if padding in ("reflection", "symmetric"):
        pixels = _reflected(scope, pixels, sizes, padding)
    one = _number(scope, 1)  # GridSample wants -1 and 1 at the outer edges
    doubled = scope.emit("Add", scope.emit("Mul", pixels, _number(scope, 2)), one)
    places = scope.emit("Sub", scope.emit("Div", doubled, sizes), one)
    x, fill = scope.input(op, "x"), float(scope.scalar(op, "padding_value", 0))
    shifted = padding == "constant" and fill != 0  # zeros are the padding of x - fill
    if shifted:
        x = scope.emit("Sub", x, _number(scope, fill))
    how: Attributes = {"mode": INTERPOLATION[sampling], "padding_mode": PADDING[padding], "align_corners": 0}
    taken = scope.emit("GridSample", x, places, **how)
    scope.bind(op, scope.emit("Add", taken, _number(scope, fill)) if shifted else taken)


@lowers("affine")
def affine(scope: Scope, op: Op) -> None:
    """(x', y') = A (x, y, 1) for x and y from -1 to 1 at the outer pixels' centres; zeros outside."""
    height, width = int(scope.scalar(op, "output_height")), int(scope.scalar(op, "output_width"))
    sampling, padding = str(scope.scalar(op, "sampling_mode")), str(scope.scalar(op, "padding_mode"))
    mode, aligned = str(scope.scalar(op, "coordinates_mode")), bool(scope.scalar(op, "align_corners"))
    known = (sampling, padding, mode, aligned) == ("bilinear", "constant", "normalized_minus_one_to_one", True)
    if not known or float(scope.scalar(op, "padding_value", 0)) or 1 in (height, width):
        raise unsupported(scope, op, "this combination of modes")
    bounded(op, height, width, 3)
    rows, columns = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    places = np.stack([*reversed(np.meshgrid(rows, columns, indexing="ij")), np.ones((height, width))], -1)
    matrix = scope.emit("Reshape", scope.input(op, "transform_matrix"), scope.array([-1, 2, 3], "int64"))
    turned = scope.emit("Transpose", matrix, perm=[0, 2, 1])
    moved = scope.emit("MatMul", _number(scope, places.reshape(-1, 3)), turned)
    moved = scope.emit("Reshape", moved, scope.array([-1, height, width, 2], "int64"))
    x = scope.input(op, "x")
    batch = scope.emit("Concat", scope.emit("Shape", x, start=0, end=1), scope.array([1, 1, 1], "int64"), axis=0)
    how: Attributes = {"mode": "linear", "padding_mode": "zeros", "align_corners": 1}
    scope.bind(op, scope.emit("GridSample", x, scope.emit("Expand", moved, batch), **how))


@lowers("crop_resize")
def crop_resize(scope: Scope, op: Op) -> None:
    """Boxes cut out and resized linearly; places outside the image are `pad_value`."""
    mode = str(scope.scalar(op, "sampling_mode", "DEFAULT"))
    if mode not in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        raise unsupported(scope, op, f"sampling_mode {mode!r}, whose grid within a box is not defined")
    batch, channels, height, width = static_shape(scope, op, "x")
    targets = [int(scope.scalar(op, key, 1)) for key in ("target_height", "target_width")]
    bounded(op, *targets)
    x, boxes, lead = _chosen_images(scope, op, batch, channels)
    inside = ""
    for axis, size, target, ends in zip((2, 3), (height, width), targets, _corners(scope, op, boxes), strict=True):
        share = np.linspace(0, 1, target) if target > 1 else np.array([0.5 if mode == "ALIGN_CORNERS" else 0.0])
        if scope.scalar(op, "normalized_coordinates", False):
            ends = [scope.emit("Mul", end, _number(scope, size - 1)) for end in ends]
        start, extent = ends[0], scope.emit("Sub", ends[1], ends[0])
        places = scope.emit("Add", start, scope.emit("Mul", extent, _number(scope, share)))  # [N, target]
        x = _gathered(scope, x, places, axis, size)
        valid = scope.emit("And", scope.emit("GreaterOrEqual", places, _number(scope, 0)),
                           scope.emit("LessOrEqual", places, _number(scope, size - 1)))  # fmt: skip
        valid = scope.emit("Unsqueeze", valid, scope.array([1, 5 - axis], "int64"))
        inside = scope.emit("And", inside, valid) if inside else valid
    taken = scope.emit("Where", inside, x, _number(scope, float(scope.scalar(op, "pad_value", 0))))
    scope.bind(op, scope.emit("Reshape", taken, scope.array([*lead, channels, *targets], "int64")))


def _chosen_images(scope: Scope, op: Op, batch: int, channels: int) -> tuple[str, str, list[int]]:
    """x with one entry per box, [N, images · C, H, W]; the boxes [N, 4]; the result's leading dimensions."""
    x = scope.input(op, "x")
    if scope.has(op, "boxes"):  # iOS 17
        boxes = cast_between(scope, scope.input(op, "boxes"), scope.type(op, "boxes").dtype, "fp32")
        count = static_shape(scope, op, "boxes")[0]
        bounded(op, count)
        indices = int64_input(scope, op, "box_indices") if scope.has(op, "box_indices") else (
            scope.array(np.arange(count), "int64"))  # fmt: skip
        return scope.emit("Gather", x, indices, axis=0), boxes, [-1]
    count, _, width = static_shape(scope, op, "roi")[:3]
    flat = scope.emit("Reshape", scope.input(op, "roi"), scope.array([count, width], "int64"))
    if width == 5:
        index, boxes = scope.emit_many("Split", flat, scope.array([1, 4], "int64"), outputs=2, axis=1)
        index = scope.cast(scope.emit("Reshape", index, scope.array([-1], "int64")), "int64")
        return scope.emit("Gather", x, index, axis=0), boxes, [count, 1]
    shape = static_shape(scope, op, "x")[2:]
    joined = scope.emit("Reshape", x, scope.array([1, batch * channels, *shape], "int64"))
    every = scope.emit("Expand", joined, scope.array([count, 1, 1, 1], "int64"))
    return every, flat, [count, batch]


def _corners(scope: Scope, op: Op, boxes: str) -> list[list[str]]:
    """Start and end [N, 1] of each box, for height and for width."""
    convention = str(scope.scalar(op, "box_coordinate_mode", "CORNERS_HEIGHT_FIRST"))
    if convention not in BOXES:
        raise unsupported(scope, op, f"box_coordinate_mode {convention!r} is not known")
    scale = _number(scope, float(scope.scalar(op, "spatial_scale", 1)))
    parts = scope.emit_many("Split", scope.emit("Mul", boxes, scale), outputs=4, axis=1, num_outputs=4)
    height, width = [parts[0], parts[2]], [parts[1], parts[3]]
    if convention.endswith("WIDTH_FIRST"):
        height, width = width, height
    if convention.startswith("CENTER"):
        half = _number(scope, 0.5)
        for pair in (height, width):
            centre, reach = pair[0], scope.emit("Mul", pair[1], half)
            pair[:] = [scope.emit("Sub", centre, reach), scope.emit("Add", centre, reach)]
    return [height, width]


def _gathered(scope: Scope, x: str, places: str, axis: int, size: int) -> str:
    """x [N, C, H, W] read at fractional places [N, target] of one dimension, linearly."""
    low = scope.emit("Floor", scope.emit("Clip", places, _number(scope, 0), _number(scope, size - 1)))
    free = scope.array([1, 5 - axis], "int64")
    sides = []
    for offset in (0, 1):
        index = scope.emit("Min", scope.emit("Add", low, _number(scope, offset)), _number(scope, size - 1))
        index = scope.emit("Unsqueeze", scope.cast(index, "int64"), free)
        shape = scope.emit("Shape", x)
        keep = scope.array([0 if dim in (0, axis) else 1 for dim in range(4)], np.bool_)
        index = scope.emit("Expand", index, scope.emit("Where", keep, shape, scope.array(1, "int64")))
        sides.append(scope.emit("GatherElements", x, index, axis=axis))
    share = scope.emit("Unsqueeze", scope.emit("Sub", places, low), free)
    return scope.emit("Add", sides[0], scope.emit("Mul", scope.emit("Sub", sides[1], sides[0]), share))
