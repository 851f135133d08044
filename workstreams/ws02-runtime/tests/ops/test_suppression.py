"""`non_maximum_suppression` against a greedy suppression in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .harness import Case, Const, check


def overlap(a: Any, b: Any) -> float:
    """Intersection over union of two boxes (x, y, width, height), (x, y) the centre."""
    low = np.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2)
    high = np.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(np.prod(a[2:])) + float(np.prod(b[2:])) - shared)


def suppressed(boxes: Any, scores: Any, iou: float, least: float, limit: int, per_class: bool) -> list[Any]:
    """Boxes, scores, indices and number of one image's survivors."""
    best, classes = scores.max(1), scores.argmax(1)
    kept: list[int] = []
    for i in np.argsort(-best, kind="stable"):
        rivals = [j for j in kept if not per_class or classes[i] == classes[j]]
        if best[i] > least and all(overlap(boxes[i], boxes[j]) <= iou for j in rivals):
            kept.append(int(i))
    kept = kept[:limit] or [int(best.argmax())]
    missing = limit - len(kept)
    rows = ((0, missing), (0, 0))
    indices = np.pad(np.array(kept, np.int32), (0, missing), constant_values=-1)
    return [np.pad(boxes[kept], rows), np.pad(scores[kept], rows), indices, np.int32(len(kept))]


def example(name: str, *, images: int, count: int, classes: int, limit: int, iou: float, least: float | None,
            per_class: bool) -> Case:  # fmt: skip
    """A case; without `least`, the op as iOS 17 has it."""
    rng = np.random.default_rng(count * classes)
    boxes = rng.uniform(1, 30, (images, count, 4)).astype(np.float32)
    scores = rng.permutation(images * count * classes).reshape(images, count, classes).astype(np.float32)
    lowest = -np.inf if least is None else least
    found = [suppressed(b, s, iou, lowest, limit, per_class) for b, s in zip(boxes, scores, strict=True)]
    expected = [np.stack(parts) for parts in zip(*found, strict=True)]
    inputs: dict[str, Any] = {"boxes": boxes, "scores": scores, "iou_threshold": Const(iou), "max_boxes": Const(limit)}
    inputs["per_class_suppression"] = Const(per_class)
    if least is not None:
        return Case(name, "non_maximum_suppression", expected, {**inputs, "score_threshold": Const(least)}, "CoreML5")
    turned = {"boxes": boxes.transpose(0, 2, 1), "scores": scores.transpose(0, 2, 1)}
    moved = [expected[0].transpose(0, 2, 1), expected[1].transpose(0, 2, 1), expected[2]]
    return Case(name, "non_maximum_suppression", moved, {**inputs, **turned}, "CoreML7")


COMMON: dict[str, Any] = {"images": 2, "count": 30, "classes": 4, "limit": 12, "iou": 0.2, "least": 40.0}
CASES = [
    example("all-classes", **COMMON, per_class=False),
    example("per-class", **COMMON, per_class=True),
    example("one-class", **{**COMMON, "classes": 1, "least": 5.0}, per_class=True),
    example("no-overlap-allowed", **{**COMMON, "iou": 0.0}, per_class=False),
    example("none-survives", **{**COMMON, "least": 1e6}, per_class=False),
    example("none-survives-per-class", **{**COMMON, "least": 1e6}, per_class=True),
    example("padded", **{**COMMON, "count": 5}, per_class=False),
    example("ios17", **{**COMMON, "least": None}, per_class=False),
    example("ios17-per-class", **{**COMMON, "least": None}, per_class=True),
    example("ios17-padded", **{**COMMON, "least": None, "count": 3}, per_class=True),
]


@pytest.mark.parametrize("flexible", [False, True], ids=["fixed", "flexible"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_survivors(case: Case, flexible: bool) -> None:
    check(case, flexible=flexible)
