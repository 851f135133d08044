"""Gathering and scattering against NumPy written out position by position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lilims.core.errors import UnsupportedOpError

from .harness import Case, Const, case, check, floats, i32, run

pytestmark = pytest.mark.slow

X = floats(3, 4, 5, seed=1)
IDS = i32([[2, 0], [1, 1]])
IOS15, IOS17 = {"opset": "CoreML5"}, {"opset": "CoreML7"}


def batched(x: Any, indices: Any, axis: int, batch: int) -> Any:
    """gather with batch_dims as TensorFlow defines it, one batch element after the other."""
    if not batch:
        return np.take(x, indices, axis)
    return np.stack([batched(a, i, axis - 1, batch - 1) for a, i in zip(x, indices, strict=True)])


def gather_nd(x: Any, indices: Any, batch: int = 0) -> Any:
    if batch:
        return np.stack([gather_nd(a, i, batch - 1) for a, i in zip(x, indices, strict=True)])
    return x[tuple(np.moveaxis(indices, -1, 0))]


BATCHED = np.random.default_rng(0).integers(0, 4, (3, 2, 2)).astype(np.int32)
ALONG = np.random.default_rng(1).integers(-4, 4, (3, 2, 5)).astype(np.int32)
PLACES = i32([[2, 3], [0, 1], [1, 0]])

GATHERS = [
    *(case(f"gather-{axis}", "gather", np.take(X, IDS, axis), x=X, indices=IDS, axis=Const(axis))
      for axis in (0, 1, 2, -1)),
    case("gather-default-axis", "gather", X[IDS], x=X, indices=IDS),
    case("gather-scalar", "gather", X[:, 2], x=X, indices=np.int32(2), axis=Const(1)),
    case("gather-scalar-constant", "gather", X[:, 2], x=X, indices=Const(2), axis=Const(1)),
    case("gather-vector-by-scalar", "gather", np.int32(4), x=i32([3, 4]), indices=Const(1)),
    case("gather-negative-ios15", "gather", X[:, [-1, 0]], like=IOS15, x=X, indices=i32([-1, 0]), axis=Const(1)),
    case("gather-negative-ios17", "gather", X[:, [-1, 0]], like=IOS17, x=X, indices=i32([-1, 0]), axis=Const(1),
         validate_indices=Const(False)),
    *(case(f"gather-{t.__name__}-indices", "gather", X[:, [3, 1]], x=X, indices=np.array([3, 1], t), axis=Const(1),
           like=IOS17) for t in (np.uint16, np.int16, np.uint8, np.int8)),
    *(case(f"gather-{t.__name__}", "gather", np.arange(6).astype(t)[[3, 1]], x=np.arange(6).astype(t),
           indices=i32([3, 1]), like=IOS17) for t in (np.uint16, np.int16, np.uint8, np.int8, np.int32)),
    *(case(f"gather-batch-{batch}-axis-{axis}", "gather", batched(X, BATCHED[:, 0] if batch == 0 else ids, axis, batch),
           x=X, indices=ids, axis=Const(axis), batch_dims=Const(batch))
      for batch, axis, ids in ((1, 1, BATCHED), (1, 2, BATCHED), (1, 1, BATCHED[:, 0, 0]), (1, -1 + 3, BATCHED[:, 0]),
                               (2, 2, np.tile(BATCHED[:, :1, :], (1, 4, 1))))),
    *(case(f"gather_along_axis-{axis}", "gather_along_axis", np.take_along_axis(X, ids, axis),
           x=X, indices=ids, axis=Const(axis))
      for axis, ids in ((1, ALONG), (-2, ALONG),
                        (0, np.zeros((2, 4, 5), np.int32)), (2, np.ones((3, 4, 7), np.int32)))),
    case("gather_along_axis-uint16", "gather_along_axis", np.take_along_axis(X, abs(ALONG) % 4, 1), like=IOS17,
         x=X, indices=(abs(ALONG) % 4).astype(np.uint16), axis=Const(1)),
    case("gather_nd", "gather_nd", gather_nd(X, PLACES), x=X, indices=PLACES),
    case("gather_nd-full", "gather_nd", gather_nd(X, i32([[[2, 3, 4]], [[0, 0, 0]]])), x=X,
         indices=i32([[[2, 3, 4]], [[0, 0, 0]]])),
    case("gather_nd-negative", "gather_nd", gather_nd(X, -PLACES), x=X, indices=-PLACES),
    case("gather_nd-batch-1", "gather_nd", gather_nd(X, BATCHED, 1), x=X, indices=BATCHED, batch_dims=Const(1)),
    case("gather_nd-batch-2", "gather_nd", gather_nd(X, BATCHED[:, :1].repeat(4, 1)[..., :1], 2), x=X,
         indices=BATCHED[:, :1].repeat(4, 1)[..., :1], batch_dims=Const(2)),
    case("gather_nd-int16", "gather_nd", gather_nd(X, PLACES), like=IOS17, x=X, indices=PLACES.astype(np.int16)),
]  # fmt: skip

MODES = {
    "update": lambda a, b: b, "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "max": np.maximum, "min": np.minimum,
}  # fmt: skip


def scatter_nd(data: Any, indices: Any, updates: Any, mode: str) -> Any:
    result = data.copy()
    for place in np.ndindex(indices.shape[:-1]):
        where = tuple(indices[place])
        result[where] = MODES[mode](result[where], updates[place])
    return result


def scatter(data: Any, indices: Any, updates: Any, mode: str, axis: int) -> Any:
    front = np.moveaxis(data, axis, 0)
    moved = np.moveaxis(updates, range(axis, axis + indices.ndim), range(indices.ndim))
    return np.moveaxis(scatter_nd(front, indices[..., None], moved, mode), 0, axis)


def scatter_along(data: Any, indices: Any, updates: Any, mode: str, axis: int) -> Any:
    result = data.copy()
    for place in np.ndindex(indices.shape):
        where = list(place)
        where[axis] = indices[place]
        result[tuple(where)] = MODES[mode](result[tuple(where)], updates[place])
    return result


def scatter_cases() -> list[Case]:
    cases = []
    twice, once = i32([2, 0, 2]), i32([2, 0])
    whole = np.random.default_rng(2).integers(-9, 9, (3, 4)).astype(np.int32)
    for mode in MODES:
        chosen = Const(mode)
        for axis in (0, 1, 2):
            for name, ids in (("twice", twice), ("once", once)):
                updates = floats(*X.shape[:axis], len(ids), *X.shape[axis + 1 :], seed=3, low=0.5, high=2)
                if mode == "update" and name == "twice":
                    continue  # which one wins is not defined
                cases.append(case(f"scatter-{mode}-{axis}-{name}", "scatter", scatter(X, ids, updates, mode, axis),
                                  data=X, indices=ids, updates=updates, axis=Const(axis), mode=chosen))  # fmt: skip
        ids = np.argsort(floats(3, 2, 5, seed=4), axis=1).astype(np.int32) * 2
        updates = floats(3, 2, 5, seed=5, low=0.5, high=2)
        cases.append(case(f"scatter_along_axis-{mode}", "scatter_along_axis", scatter_along(X, ids, updates, mode, 1),
                          data=X, indices=ids, updates=updates, axis=Const(1), mode=chosen))  # fmt: skip
        rows = floats(3, 5, seed=6, low=0.5, high=2)
        cases.append(case(f"scatter_nd-{mode}", "scatter_nd", scatter_nd(X, PLACES, rows, mode),
                          data=X, indices=PLACES, updates=rows, mode=chosen))  # fmt: skip
        if mode != "div":
            amounts = i32([[4, -5, 6, 7], [1, 2, 3, 4]])
            cases.append(case(f"scatter-{mode}-int32", "scatter", scatter(whole, once, amounts, mode, 0),
                              data=whole, indices=once, updates=amounts, mode=chosen))  # fmt: skip
    square = i32([[1, 0], [2, 1]])
    cases += [
        case("scatter-rank-2-indices", "scatter", scatter(X, square, floats(3, 2, 2, 5), "add", 1),
             data=X, indices=square, updates=floats(3, 2, 2, 5), axis=Const(1), mode=Const("add")),
        case("scatter-default-adds", "scatter", scatter(X, once, X[:2], "add", 0), data=X, indices=once, updates=X[:2]),
        case("scatter-negative", "scatter", scatter(X, i32([-1, 0]), X[:2], "update", 0),
             data=X, indices=i32([-1, 0]), updates=X[:2], mode=Const("update")),
        case("scatter-outside-ios17", "scatter", scatter(X, i32([0]), X[1:2], "update", 0), like=IOS17,
             data=X, indices=i32([9, -1]), updates=X[[0, 1]], mode=Const("update")),
        case("scatter-outside-ios18", "scatter", scatter(X, i32([2, 0]), X[[0, 1]], "update", 0),
             data=X, indices=i32([-1, 9]), updates=X[[0, 1]], mode=Const("update")),
        case("scatter_nd-outside-ios17", "scatter_nd", scatter_nd(X, i32([[0, 1]]), X[0, :1], "update"), like=IOS17,
             data=X, indices=i32([[-1, 1]]), updates=X[0, :1], mode=Const("update")),
        case("scatter_nd-default-adds", "scatter_nd", scatter_nd(X, PLACES, floats(3, 5), "add"),
             data=X, indices=PLACES, updates=floats(3, 5)),
    ]  # fmt: skip
    return cases


CASES = GATHERS + scatter_cases()


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_fixed(example: Case) -> None:
    check(example)


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_flexible(example: Case) -> None:
    check(example, flexible=True)


def test_integer_division_is_refused() -> None:
    x = i32([4, 5])
    with pytest.raises(UnsupportedOpError, match="div"):
        run(case("", "scatter", x, data=x, indices=i32([0, 1]), updates=x, mode=Const("div")))


def test_index_outside_is_an_error() -> None:
    with pytest.raises(Exception, match="out of data bounds"):
        run(case("", "gather", X[:1], x=X, indices=i32([3])))


CHECKED = [
    ("gather", {"x": X, "axis": Const(1)}),
    ("gather_along_axis", {"x": X[0, 0], "axis": Const(0)}),
    ("gather_nd", {"x": X[0, 0]}),
    ("scatter", {"data": X[0, 0], "updates": X[0, 0, :1], "axis": Const(0)}),
    ("scatter_along_axis", {"data": X[0, 0], "updates": X[0, 0, :1], "axis": Const(0)}),
    ("scatter_nd", {"data": X[0, 0], "updates": X[0, 0, 0]}),
]


@pytest.mark.parametrize("index", [-1, 99])
@pytest.mark.parametrize(("op", "inputs"), CHECKED, ids=[op for op, _ in CHECKED])
def test_validated_indices_outside_are_an_error(op: str, inputs: dict[str, Any], index: int) -> None:
    example = case("", op, X, like=IOS17, **inputs, indices=i32([index]), validate_indices=Const(True))
    with pytest.raises(Exception, match=r"indices|indice|index"):
        run(example)
