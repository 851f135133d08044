"""Reshaping, slicing, joining and splitting against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lilims.core.errors import PackageError, UnsupportedError

from .harness import Case, Const, case, check, floats, i32, run

pytestmark = pytest.mark.slow

X = floats(2, 3, 4, seed=1)
ROW = np.arange(10, dtype=np.float32)
DTYPES = (np.float32, np.int32, np.bool_, np.int8, np.uint8, np.int16, np.uint16)
IOS16, IOS17 = {"opset": "CoreML6"}, {"opset": "CoreML7"}


def typed(dtype: Any) -> Any:
    return (np.arange(24).reshape(2, 3, 4) % 2 if dtype is np.bool_ else np.arange(24).reshape(2, 3, 4)).astype(dtype)


def shape_cases() -> list[Case]:
    squeezable = X.reshape(2, 1, 3, 1, 4)
    cases = [
        case("reshape", "reshape", X.reshape(6, 4), x=X, shape=Const([6, 4])),
        case("reshape-infer", "reshape", X.reshape(4, 6), x=X, shape=Const([4, -1])),
        case("reshape-copy", "reshape", X.reshape(2, 3, 4), x=X, shape=Const([0, 3, 0])),
        case("reshape-copy-and-infer-ios16", "reshape", X.reshape(2, 2, 6), like=IOS16, x=X, shape=Const([0, 2, -1])),
        case("reshape-copy-from-the-right", "reshape", X.reshape(1, 1, 6, 4), like=IOS17,
             x=X, shape=Const([1, 1, -1, 0])),
        case("reshape-copy-beyond-the-left", "reshape", floats(2, 50).reshape(1, 1, 2, 50), like=IOS17,
             x=floats(2, 50), shape=Const([1, 0, -1, 0])),
        case("reshape-copy-to-lower-rank", "reshape", X.reshape(6, 4), like=IOS17, x=X, shape=Const([-1, 0])),
        case("reshape-at-run-time", "reshape", X.reshape(6, 4), x=X, shape=i32([6, 4])),
        case("reshape-at-run-time-infer", "reshape", X.reshape(2, 12), x=X, shape=i32([2, -1])),
        case("reshape-scalar-to-vector", "reshape", np.float32([5]), x=np.float32(5), shape=Const([1])),
        case("reshape-to-scalar", "reshape", np.float32(5), x=np.float32([5]), shape=Const(np.zeros(0, np.int32))),
        case("reshape_like", "reshape_like", X.reshape(4, 6), x=X, ref_tensors=[floats(4, 9), floats(7, 6)],
             begins=[Const(0), Const(1)], ends=[Const(1), Const(0)], end_masks=[Const(False), Const(True)]),
        case("reshape_like-one", "reshape_like", X.reshape(6, 4), x=X, ref_tensors=[floats(9, 6, 4)],
             begins=[Const(1)], ends=[Const(3)], end_masks=[Const(False)]),
        case("reshape_like-negative-end", "reshape_like", X.reshape(6, 4), x=X, ref_tensors=[floats(6, 4, 9)],
             begins=[Const(0)], ends=[Const(-1)], end_masks=[Const(False)]),
        case("transpose", "transpose", X.transpose(2, 0, 1), x=X, perm=Const([2, 0, 1])),
        case("transpose-negative", "transpose", X.transpose(0, 2, 1), x=X, perm=Const([0, -1, -2])),
        case("expand_dims", "expand_dims", X[:, None, :, :, None], x=X, axes=Const([1, -1])),
        case("expand_dims-unsorted", "expand_dims", X[None, :, :, :, None], x=X, axes=Const([-1, 0])),
        case("expand_dims-scalar", "expand_dims", np.float32([[2]]), x=np.float32(2), axes=Const([0, 1])),
        case("shape", "shape", i32([2, 3, 4]), x=X),
        case("identity", "identity", X, x=X),
        *(case(f"flatten2d-{axis}", "flatten2d", X.reshape(shape), x=X, axis=Const(axis))
          for axis, shape in ((0, (1, 24)), (1, (2, 12)), (2, (6, 4)), (-1, (6, 4)), (-2, (2, 12)))),
        case("flatten2d-vector", "flatten2d", ROW.reshape(1, 10), x=ROW, axis=Const(-1)),
        case("squeeze", "squeeze", X.reshape(2, 3, 1, 4), x=squeezable, axes=Const([1])),
        case("squeeze-negative", "squeeze", X.reshape(2, 1, 3, 4), x=squeezable, axes=Const([-2])),
        case("squeeze-all", "squeeze", X, x=squeezable),
        case("squeeze-leaves-others", "squeeze", X.reshape(2, 3, 1, 4), x=squeezable, axes=Const([0, 1])),
        case("squeeze-to-scalar", "squeeze", np.float32(3), x=np.float32([[3]])),
    ]  # fmt: skip
    for dtype in DTYPES:
        x, name = typed(dtype), dtype.__name__
        cases += [
            case(f"reshape-{name}", "reshape", x.reshape(6, 4), x=x, shape=Const([6, 4])),
            case(f"transpose-{name}", "transpose", x.transpose(1, 0, 2), x=x, perm=Const([1, 0, 2])),
            case(f"slice-{name}", "slice_by_index", x[:, 1:3], x=x, begin=Const([0, 1, 0]), end=Const([2, 3, 4])),
            case(f"concat-{name}", "concat", np.concatenate([x, x], 1), values=[x, x], axis=Const(1)),
            case(f"split-{name}", "split", list(np.split(x, 2, 2)), x=x, num_splits=Const(2), axis=Const(2)),
            case(f"tile-{name}", "tile", np.tile(x, (1, 2, 1)), x=x, reps=Const([1, 2, 1])),
            case(f"pad-{name}", "pad", np.pad(x, ((0, 0), (0, 0), (1, 2))), x=x, pad=Const([1, 2])),
            case(f"reverse-{name}", "reverse", x[:, ::-1], x=x, axes=Const([1])),
            case(f"expand_dims-{name}", "expand_dims", x[None], x=x, axes=Const([0])),
        ]
    return cases


def sliced(name: str, expected: Any, begin: list[int], end: list[int], runtime: bool = True, **more: Any) -> list[Case]:
    """A slice with constant bounds, and the same with bounds known at run time."""
    masks = {key: Const(np.asarray(value)) for key, value in more.items()}
    pairs = {"": (Const(begin), Const(end))}
    if runtime:
        late = i32(begin), i32(end)
        pairs |= {"-at-run-time": late, "-begin-late": (late[0], Const(end)), "-end-late": (Const(begin), late[1])}
    return [
        case(f"slice-{name}{when}", "slice_by_index", expected, x=X, begin=first, end=last, **masks)
        for when, (first, last) in pairs.items()
    ]


T, F = True, False
SLICES = [
    *sliced("plain", X[0:1, 1:3, 2:4], [0, 1, 2], [1, 3, 4]),
    *sliced("negative", X[-2:, :-1, -3:-1], [-2, 0, -3], [2, -1, -1]),
    *sliced("beyond", X[:, 1:, :], [0, 1, -9], [99, 99, 99]),
    *sliced("stride", X[:, ::2, 1::2], [0, 0, 1], [2, 3, 4], stride=i32([1, 2, 2])),
    *sliced("masks", X[:, 1:, :2], [1, 1, 1], [1, 1, 2], begin_mask=[T, F, T], end_mask=[T, T, F]),
    *sliced("backwards", X[::-1, 2:0:-1, ::-2], [0, 2, 0], [0, 0, 0], stride=i32([-1, -1, -2]),
            begin_mask=[T, F, T], end_mask=[T, F, T]),
    *sliced("backwards-negative", X[:, -1:-3:-1, ::-1], [0, -1, -1], [2, -3, 0], stride=i32([1, -1, -1]),
            end_mask=[F, F, T]),
    *sliced("squeeze", X[:, 1, 2:], [0, 1, 2], [2, 0, 4], squeeze_mask=[F, T, F]),
    *sliced("squeeze-last", X[-1, :, -1], [-1, 0, -1], [0, 3, 0], squeeze_mask=[T, F, T]),
    *sliced("squeeze-all", X[1, 2, 3], [1, 2, 3], [0, 0, 0], squeeze_mask=[T, T, T]),
    *sliced("squeeze-ignores-stride", X[1, :, :2], [1, 0, 0], [0, 3, 2], stride=i32([-3, 1, 1]),
            squeeze_mask=[T, F, F]),
    *sliced("empty", X[:, 1:1], [0, 1, 0], [2, 1, 4]),
    case("slice-int8-bounds", "slice_by_index", X[:, 1:], like=IOS17, x=X,
         begin=np.array([0, 1, 0], np.int8), end=Const(np.array([2, 3, 4], np.int8))),
    *(case(f"slice_by_size-{name}", "slice_by_size", X[1:, 0:2, 1:4], x=X, begin=begin, size=size)
      for name, begin, size in (
          ("constant", Const([1, 0, 1]), Const([1, 2, 3])), ("begin-at-run-time", i32([1, 0, 1]), Const([1, 2, 3])),
          ("rest", Const([1, 0, 1]), Const([-1, 2, -1])), ("rest-at-run-time", i32([1, 0, 1]), i32([-1, 2, -1])),
          ("negative", Const([-1, -3, -3]), Const([1, 2, 3])),
          ("negative-at-run-time", i32([-1, -3, -3]), Const([1, 2, 3])),
      )),
    case("reverse-all", "reverse", X[::-1, ::-1, ::-1], x=X),
    case("reverse-axes", "reverse", X[:, ::-1, ::-1], x=X, axes=Const([1, -1])),
    case("crop", "crop", floats(1, 2, 5, 6)[..., 1:3, 0:5], x=floats(1, 2, 5, 6),
         crop_height=Const([1, 2]), crop_width=Const([0, 1])),
    case("crop-nothing", "crop", X, x=X, crop_height=Const([0, 0]), crop_width=Const([0, 0])),
]  # fmt: skip


def updated(name: str, where: Any, begin: list[int], end: list[int], **more: Any) -> list[Case]:
    """An update with constant bounds, and the same with bounds known at run time."""
    expected = X.copy()
    update = floats(*X[where].shape, seed=9)
    expected[where] = update
    masks = {key: Const(np.asarray(value)) for key, value in more.items()}
    inputs = {"x": X, "update": update, **masks}
    late = i32(begin), i32(end)
    pairs = {"": (Const(begin), Const(end)), "-at-run-time": late, "-begin-late": (late[0], Const(end))}
    return [
        case(f"update-{name}{when}", "slice_update", expected, begin=first, end=last, **inputs)
        for when, (first, last) in pairs.items()
    ]


UPDATES = [
    *updated("all", np.s_[:, :, :], [0, 0, 0], [2, 3, 4]),
    *updated("all-by-masks", np.s_[:, :, :], [0, 0, 0], [0, 0, 0], begin_mask=[T, T, T], end_mask=[T, T, T]),
    *updated("rows", np.s_[:, 1:3], [0, 1, 0], [2, 3, 4]),
    *updated("rows-by-masks", np.s_[:, 1:2], [0, 1, 0], [0, 2, 0], begin_mask=[T, F, T], end_mask=[T, F, T]),
    *updated("rest-by-end-mask", np.s_[:, 1:], [0, 1, 0], [2, 0, 4], end_mask=[F, T, F]),
    *updated("inner", np.s_[1:2, 0:2, 1:3], [1, 0, 1], [2, 2, 3]),
    *updated("negative", np.s_[-1:, :, -3:-1], [-1, 0, -3], [2, 3, -1]),
    *updated("stride", np.s_[:, ::2, 1::2], [0, 0, 1], [2, 3, 4], stride=i32([1, 2, 2])),
    *updated("backwards", np.s_[:, ::-1, 3:0:-2], [0, 0, 3], [2, 0, 0], stride=i32([1, -1, -2]),
             begin_mask=[F, T, F], end_mask=[F, T, F]),
    *updated("squeeze", np.s_[1, :, 2:], [1, 0, 2], [0, 3, 4], squeeze_mask=[T, F, F]),
    *updated("squeeze-middle", np.s_[:, -1], [0, -1, 0], [2, 0, 4], squeeze_mask=[F, T, F]),
    *(case(f"update-{t.__name__}", "slice_update", np.concatenate([typed(t)[:1], typed(t)[:1]]), x=typed(t),
           update=typed(t)[:1], begin=Const([1, 0, 0]), end=Const([2, 3, 4])) for t in DTYPES),
]  # fmt: skip

JOINS = [
    *(case(f"concat-{axis}", "concat", np.concatenate([X, X[:2], X], axis), values=[X, X, X], axis=Const(axis))
      for axis in (0, 1, -1)),
    case("concat-uneven", "concat", np.concatenate([X, X[:, :1]], 1), values=[X, X[:, :1]], axis=Const(1)),
    case("concat-one", "concat", X, values=[X], axis=Const(0)),
    case("concat-with-constant", "concat", np.concatenate([ROW, [9, 8]]).astype("f"),
         values=[ROW, Const(np.float32([9, 8]))], axis=Const(0)),
    case("concat-scalars", "concat", np.float32([1, 2]), values=[np.float32(1), np.float32(2)], axis=Const(0)),
    case("concat-interleave", "concat", i32([[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]]),
         values=[i32([[1, 2], [3, 4], [5, 6]]), i32([[7, 8], [9, 10], [11, 12]])], axis=Const(0),
         interleave=Const(True)),
    case("concat-interleave-last", "concat", np.stack([X, X + 1, X + 2], -1).reshape(2, 3, 12),
         values=[X, X + 1, X + 2], axis=Const(-1), interleave=Const(True)),
    *(case(f"stack-{axis}", "stack", np.stack([X, X + 1], axis), values=[X, X + 1], axis=Const(axis))
      for axis in (0, 1, 3, -1, -2)),
    case("stack-scalars", "stack", i32([1, 2]), values=[np.int32(1), Const(2)], axis=Const(0)),
    case("split-even", "split", list(np.split(ROW, 5)), x=ROW, num_splits=Const(5), axis=Const(0)),
    case("split-one", "split", [X], x=X, num_splits=Const(1), axis=Const(0)),
    case("split-sizes", "split", [ROW[:1], ROW[1:4], ROW[4:]], x=ROW, split_sizes=Const([1, 3, 6]), axis=Const(0)),
    case("split-sizes-and-count", "split", [X[..., :1], X[..., 1:]], x=X, num_splits=Const(2),
         split_sizes=Const([1, 3]), axis=Const(-1)),
    case("tile", "tile", np.tile(X, (2, 1, 3)), x=X, reps=Const([2, 1, 3])),
    case("tile-at-run-time", "tile", np.tile(X, (2, 1, 3)), x=X, reps=i32([2, 1, 3])),
    case("pad-constant", "pad", np.pad(X, ((0, 0), (1, 0), (2, 3)), constant_values=0.5), x=X,
         pad=Const([1, 0, 2, 3]), mode=Const("constant"), constant_val=Const(0.5)),
    case("pad-default", "pad", np.pad(X, ((1, 1), (0, 0), (2, 0))), x=X, pad=Const([1, 1, 0, 0, 2, 0])),
    case("pad-nothing", "pad", X, x=X, pad=Const([0, 0])),
    case("pad-at-run-time", "pad", np.pad(X, ((1, 1), (0, 0), (2, 0))), x=X, pad=i32([1, 1, 0, 0, 2, 0])),
    case("pad-reflect", "pad", np.pad(X, ((0, 0), (2, 1), (3, 3)), "reflect"), x=X, pad=Const([2, 1, 3, 3]),
         mode=Const("reflect"), constant_val=Const(0.0)),
    case("pad-replicate", "pad", np.pad(X, ((0, 0), (0, 0), (2, 4)), "edge"), x=X, pad=Const([2, 4]),
         mode=Const("replicate")),
]  # fmt: skip

CASES = shape_cases() + SLICES + UPDATES + JOINS
# With flexible dimensions these are refused (an update's place needs its size) or mean something else (a dimension
# that is not known to be 1 is not squeezed).
FIXED_ONLY = ("squeeze",)


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_fixed(example: Case) -> None:
    check(example)


@pytest.mark.parametrize("example", [c for c in CASES if c.op not in FIXED_ONLY], ids=lambda c: c.id)
def test_flexible(example: Case) -> None:
    if example.op == "slice_update" and "all-by-masks" not in example.id:
        with pytest.raises(UnsupportedError, match="flexible"):
            check(example, flexible=True)
    else:
        check(example, flexible=True)


def test_flexible_dimensions_are_not_squeezed() -> None:
    check(case("", "squeeze", X[None], x=X[None]), flexible=True)


def test_copying_a_dimension_needs_equal_ranks_before_ios17() -> None:
    with pytest.raises(PackageError, match="equal ranks"):
        run(case("", "reshape", X.reshape(2, 12), like=IOS16, x=X, shape=Const([0, -1])))


def test_uneven_split_is_an_error() -> None:
    with pytest.raises(PackageError, match="3 equal parts"):
        run(case("", "split", [ROW, ROW, ROW], x=ROW, num_splits=Const(3), axis=Const(0)))


def test_update_outside_the_tensor_is_an_error() -> None:
    with pytest.raises(Exception, match="indice"):
        run(case("", "slice_update", ROW, x=ROW, update=ROW[:4], begin=i32([8]), end=i32([12])))
