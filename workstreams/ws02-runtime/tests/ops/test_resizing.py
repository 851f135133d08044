"""Resizing and sampling against the grids of coremltools' documentation, written out in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lilims.core.errors import UnsupportedError

from .harness import Case, Const, case, check, floats, i32, run

pytestmark = pytest.mark.slow

X = floats(2, 3, 4, 5, seed=1)


def grid(mode: str, size: int, target: int) -> Any:
    i = np.arange(target, dtype=np.float64)
    if mode == "STRICT_ALIGN_CORNERS":
        places = i * ((size - 1) / max(target - 1, 1))
    elif mode == "ALIGN_CORNERS":
        places = i * ((size - 1) / (target - 1)) if target > 1 else np.array([(size - 1) / 2])
    elif mode == "DEFAULT":
        places = i * ((size - size / target) / (target - 1)) if target > 1 else i
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / target
        places = 0.5 * delta + i * delta
    else:
        spacing = size / target
        places = i * spacing + 0.5 * spacing - 0.5
    return np.clip(places, 0, size - 1)


def lerp(x: Any, places: Any, axis: int) -> Any:
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = (places - low).reshape([-1 if d == axis % x.ndim else 1 for d in range(x.ndim)])
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share


def bilinear(x: Any, mode: str, height: int, width: int) -> Any:
    x = lerp(x.astype(np.float64), grid(mode, x.shape[-2], height), -2)
    return lerp(x, grid(mode, x.shape[-1], width), -1).astype(np.float32)


def nearest(x: Any, height: int, width: int) -> Any:
    rows = np.arange(height) * x.shape[-2] // height
    columns = np.arange(width) * x.shape[-1] // width
    return x[..., rows, :][..., columns]


def nearest_place(x: Any, height: int, width: int) -> Any:
    """As `resize` does: the nearest place of the grid, the lower of two."""
    rows, columns = (np.minimum(np.ceil(np.arange(n) * size / n - 0.5).astype(int), size - 1)
                     for n, size in ((height, x.shape[-2]), (width, x.shape[-1])))  # fmt: skip
    return x[..., rows, :][..., columns]


MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")
LINE = np.float32([[[0, 1]]])
DOCUMENTED = {  # the documentation's tables: grid points of 2 elements resized to 5 and to 6
    ("UNALIGN_CORNERS", 5): [0, 0.1, 0.5, 0.9, 1], ("ALIGN_CORNERS", 5): [0, 0.25, 0.5, 0.75, 1],
    ("STRICT_ALIGN_CORNERS", 5): [0, 0.25, 0.5, 0.75, 1], ("DEFAULT", 5): [0, 0.4, 0.8, 1, 1],
    ("OFFSET_CORNERS", 5): [0.1, 0.3, 0.5, 0.7, 0.9],
    ("UNALIGN_CORNERS", 6): [0, 0, 1 / 3, 2 / 3, 1, 1], ("DEFAULT", 6): [0, 1 / 3, 2 / 3, 1, 1, 1],
    ("OFFSET_CORNERS", 6): [1 / 12, 0.25, 5 / 12, 7 / 12, 0.75, 11 / 12],
}  # fmt: skip


def scale(height: Any, width: Any) -> dict[str, Const]:
    return {"scale_factor_height": Const(height), "scale_factor_width": Const(width)}


def size(height: int, width: int) -> dict[str, Const]:
    return {"target_size_height": Const(height), "target_size_width": Const(width)}


def resize_cases() -> list[Case]:
    cases = [
        case(f"resize_bilinear-{mode}-{h}x{w}", "resize_bilinear", bilinear(X, mode, h, w), x=X, **size(h, w),
             sampling_mode=Const(mode))
        for mode in MODES for h, w in ((8, 15), (2, 3), (7, 4), (1, 1), (4, 5))
    ]  # fmt: skip
    cases += [
        case(f"resize_bilinear-documented-{mode}-{n}", "resize_bilinear", np.float32([[row]]), x=LINE, **size(1, n),
             sampling_mode=Const(mode))
        for (mode, n), row in DOCUMENTED.items()
    ]  # fmt: skip
    cases += [
        case(f"resize_nearest_neighbor-{h}x{w}", "resize_nearest_neighbor", nearest(X, h, w), x=X, **size(h, w))
        for h, w in ((8, 10), (7, 3), (1, 1), (12, 49))
    ]
    cases += [
        case("upsample_nearest_neighbor", "upsample_nearest_neighbor", X.repeat(2, -2).repeat(3, -1), x=X,
             **scale(2, 3)),
        case("upsample_nearest_neighbor-rank-3", "upsample_nearest_neighbor", X[0].repeat(2, -2), x=X[0],
             **scale(2, 1)),
        case("upsample_nearest_neighbor-fraction", "upsample_nearest_neighbor", nearest(X, 10, 3), x=X,
             **scale(2.5, 0.67)),
        case("upsample_nearest_neighbor-nearly-one", "upsample_nearest_neighbor", X[..., :3], x=X[..., :3],
             **scale(1.0, 1.12)),
        case("upsample_bilinear-default", "upsample_bilinear", bilinear(X, "STRICT_ALIGN_CORNERS", 8, 15), x=X,
             **scale(2, 3)),
        case("upsample_bilinear-aligned", "upsample_bilinear", bilinear(X, "STRICT_ALIGN_CORNERS", 10, 2), x=X,
             **scale(2.5, 0.5), align_corners=Const(True)),
        case("upsample_bilinear-unaligned", "upsample_bilinear", bilinear(X, "UNALIGN_CORNERS", 10, 13), x=X,
             **scale(2.5, 2.6), align_corners=Const(False)),
        case("upsample_bilinear-corner", "upsample_bilinear", bilinear(X, "DEFAULT", 8, 10), x=X, **scale(2, 2),
             align_corners=Const(False), half_pixel_centers=Const(False)),
        case("resize-linear", "resize", bilinear(X, "UNALIGN_CORNERS", 8, 3), x=X, shape=Const([1, 8, 3]),
             resized_dims=Const(np.uint32(2)), sampling_mode=Const("UNALIGN_CORNERS")),
        case("resize-zero-keeps", "resize", bilinear(X, "DEFAULT", 4, 9), x=X, shape=Const([0, 9]),
             resized_dims=Const(np.uint32(2))),
        case("resize-one-dimension", "resize", bilinear(X, "ALIGN_CORNERS", 4, 9), x=X, shape=Const([7, 9]),
             resized_dims=Const(np.uint32(1)), sampling_mode=Const("ALIGN_CORNERS")),
        case("resize-at-run-time", "resize", bilinear(X, "DEFAULT", 8, 3), x=X, shape=i32([1, 1, 8, 3]),
             resized_dims=Const(np.uint32(2)), like={"shaped": False}),
        case("resize-at-run-time-zero", "resize", bilinear(X, "DEFAULT", 4, 3), x=X, shape=i32([1, 1, 0, 3]),
             resized_dims=Const(np.uint32(2)), like={"shaped": False}),
        case("resize-nearest", "resize", nearest_place(X, 3, 9), x=X, shape=Const([3, 9]),
             resized_dims=Const(np.uint32(2)), interpolation_mode=Const("NEAREST_NEIGHBOR")),
        case("resize-nearest-2-to-3", "resize", np.float32([-6.2, 9.4, 9.4]).reshape(1, 1, 3, 1),
             x=np.float32([-6.2, 9.4]).reshape(1, 1, 2, 1), shape=Const([3, 1]), resized_dims=Const(np.uint32(2)),
             interpolation_mode=Const("NEAREST_NEIGHBOR")),
        case("resize-nearest-doubled", "resize", X.repeat(2, -1), x=X, shape=Const([2 * X.shape[-1]]),
             resized_dims=Const(np.uint32(1)), interpolation_mode=Const("NEAREST_NEIGHBOR")),
        case("resize-nearest-int32", "resize", nearest_place(np.arange(6).reshape(1, 2, 3), 4, 6).astype(np.int32),
             x=np.arange(6).reshape(1, 2, 3).astype(np.int32), shape=Const([4, 6]), resized_dims=Const(np.uint32(2)),
             interpolation_mode=Const("NEAREST_NEIGHBOR")),
    ]  # fmt: skip
    return cases


IMAGE = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)


def roi(*boxes: Any) -> Const:
    array = np.float32(boxes)
    return Const(array.reshape(len(boxes), 1, -1, 1, 1))


def target(height: int, width: int) -> dict[str, Const]:
    return {"target_height": Const(height), "target_width": Const(width)}


ALIGN = {"sampling_mode": Const("ALIGN_CORNERS")}
RAMP = [[6 + 4 * h / 3 + w / 3 for w in range(4)] for h in range(4)]
CORNER, INVERTED = [[1, 2], [5, 6]], [[11, 10], [7, 6]]
BOXES = np.float32([[0.1, 0.3, 1.3, 1], [0.5, 1.8, 1, 0.3], [0, 0.4, 0.6, 0.7]])
TWO = np.concatenate([IMAGE, IMAGE * 10])
CROPS = [  # the first five and the padded boxes are coremltools' own expectations
    case("crop_resize", "crop_resize", np.float32([[[[[6, 7], [10, 11]]]]]), x=IMAGE, roi=roi([1, 1, 2, 2]),
         **target(2, 2), **ALIGN),
    case("crop_resize-larger", "crop_resize", np.float32([[[RAMP]]]), x=IMAGE, roi=roi([1, 1, 2, 2]), **target(4, 4),
         **ALIGN),
    case("crop_resize-centre", "crop_resize", np.float32([[[[[8.5]]]]]), x=IMAGE, roi=roi([1, 1, 2, 2]), **ALIGN),
    case("crop_resize-strict", "crop_resize", np.float32([[[[[6]]]]]), x=IMAGE, roi=roi([1, 1, 2, 2]),
         sampling_mode=Const("STRICT_ALIGN_CORNERS")),
    case("crop_resize-normalised", "crop_resize", np.float32([[[CORNER]]]), x=IMAGE, roi=roi([0, 0, 0, 1 / 3, 1 / 3]),
         normalized_coordinates=Const(True), **target(2, 2), **ALIGN),
    case("crop_resize-inverted", "crop_resize", np.float32([[[INVERTED]]]), x=IMAGE, roi=roi([2, 2, 1, 1]),
         **target(2, 2), **ALIGN),
    case("crop_resize-images", "crop_resize", np.float32([[[CORNER]], [[CORNER]]]) * np.float32([1, 10]).reshape(2, 1,
         1, 1, 1),
         x=TWO, roi=roi([0, 0, 0, 1, 1], [1, 0, 0, 1, 1]), **target(2, 2), **ALIGN),
    case("crop_resize-every-image", "crop_resize", np.float32([[[CORNER], [np.array(CORNER) * 10]]]), x=TWO,
         roi=roi([0, 0, 1, 1]), **target(2, 2), **ALIGN),
    case("crop_resize-boxes", "crop_resize", np.float32([3.1, 5.2, 10, 10, 10, 7.9, 10, 13.9, 2.2, 3.1, 9.4,
         10.3]).reshape(3, 1, 2, 2),
         x=IMAGE, boxes=Const(BOXES),
         box_indices=Const([0, 0, 0]), normalized_coordinates=Const(True), pad_value=Const(10.0), **target(2, 2),
         **ALIGN),
    case("crop_resize-boxes-default-indices", "crop_resize", np.float32([[CORNER], [np.array(CORNER) * 10]]), x=TWO,
         boxes=np.float32([[0, 0, 1, 1], [0, 0, 1, 1]]), **target(2, 2), **ALIGN),
    case("crop_resize-width-first", "crop_resize", np.float32([[[[[2, 3, 4], [6, 7, 8]]]]]), x=IMAGE,
         roi=roi([1, 0, 3, 1]),
         box_coordinate_mode=Const("CORNERS_WIDTH_FIRST"), **target(2, 3), **ALIGN),
    case("crop_resize-centre-size", "crop_resize", np.float32([[[[[2, 3, 4], [6, 7, 8]]]]]), x=IMAGE,
         roi=roi([0.5, 2, 1, 2]),
         box_coordinate_mode=Const("CENTER_SIZE_HEIGHT_FIRST"), **target(2, 3), **ALIGN),
    case("crop_resize-spatial-scale", "crop_resize", np.float32([[[[[6, 7], [10, 11]]]]]), x=IMAGE,
         roi=roi([2, 2, 4, 4]),
         spatial_scale=Const(0.5), **target(2, 2), **ALIGN),
]  # fmt: skip

SMALL = np.float32([[[[11, 22], [33, 44]]]])
PLACES = np.float32([-1, -2, -3.7, -1, 0, 0, 3.5, 1.2]).reshape(1, 2, 2, 2)


def sampled(
    name: str, expected: Any, sampling: str, padding: str, fill: float, mode: str, align: bool, **more: Any
) -> Case:
    return case(f"resample-{name}", "resample", np.float32(expected).reshape(1, 1, 2, 2), x=SMALL, coordinates=PLACES,
                sampling_mode=Const(sampling), padding_mode=Const(padding), padding_value=Const(fill),
                coordinates_mode=Const(mode), align_corners=Const(align), like={"atol": 1e-4}, **more)  # fmt: skip


MATRIX = np.float32([[-1, -2, -3.7, -1, 3.5, 1.2]])
modes = {"sampling_mode": Const("bilinear"), "padding_mode": Const("constant"), "padding_value": Const(0.0),
         "coordinates_mode": Const("normalized_minus_one_to_one"), "align_corners": Const(True)}  # fmt: skip


def out(height: int, width: int) -> dict[str, Const]:
    return {"output_height": Const(height), "output_width": Const(width)}


SAMPLES = [  # coremltools' own expectations
    sampled("constant", [8.585, 6.17, 27.5, 6.17], "bilinear", "constant", 6.17, "normalized_minus_one_to_one", True),
    sampled("border", [11, 11, 11, 44], "nearest", "border", -1, "unnormalized", False),
    sampled("reflection", [22, 36.3, 11, 34.1], "bilinear", "reflection", -1, "normalized_zero_to_one", True),
    sampled("symmetric", [22, 33, 11, 33], "nearest", "symmetric", -1, "normalized_zero_to_one", False),
    case("affine", "affine", np.float32([10.752501, 2.5025, 0, 1.98, 0, 0, 0, 0, 0]).reshape(1, 1, 3, 3), x=SMALL,
         transform_matrix=MATRIX, **out(3, 3), **modes),
    case("affine-wide", "affine", np.float32([10.752501, 5.94, 2.5025, 0.44, 0, 0, 0, 0, 0, 0]).reshape(1, 1, 2, 5),
         x=SMALL,
         transform_matrix=MATRIX, **out(2, 5), **modes),
    case("affine-identity", "affine", np.concatenate([SMALL, -SMALL]), x=np.concatenate([SMALL, -SMALL]),
         transform_matrix=np.float32([[1, 0, 0, 0, 1, 0]]), **out(2, 2), **modes),
]  # fmt: skip

CASES = resize_cases() + CROPS + SAMPLES


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_fixed(example: Case) -> None:
    check(example)


@pytest.mark.parametrize("example", [c for c in CASES if c.op != "affine"], ids=lambda c: c.id)
def test_flexible(example: Case) -> None:
    if example.op in ("crop_resize", "resample"):
        with pytest.raises(UnsupportedError, match="flexible"):
            run(example, flexible=True)
    else:
        check(example, flexible=True)


REFUSED = [
    ("resize", {"x": X, "shape": Const([2, 2]), "resized_dims": Const(np.uint32(2)),
    "sampling_mode": Const("ALIGN_CORNERS"),
                "interpolation_mode": Const("NEAREST_NEIGHBOR")}, "nearest"),
    ("crop_resize", {"x": IMAGE, "roi": roi([0, 0, 1, 1])}, "sampling_mode"),
    ("upsample_bilinear", {"x": X, "align_corners": Const(True), "half_pixel_centers": Const(True)}, "half_pixel"),
    ("affine", {"x": SMALL, "transform_matrix": MATRIX, **out(1, 2), **modes}, "combination"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "message"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refused(op: str, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        run(case("", op, X, **inputs))
