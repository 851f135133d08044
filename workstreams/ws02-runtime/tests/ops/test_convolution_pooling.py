"""Convolutions, their transposes and pooling against sums written out window by window."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import PackageError, UnsupportedError

from .harness import Case, Const, case, check, floats, run

pytestmark = pytest.mark.slow


def windows(x: Any, kernel: Any, strides: Any, dilations: Any) -> Any:
    """All windows of x [n, C, *D] that is padded already: [n, C, *out, *kernel]."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, spans, tuple(range(2, x.ndim)))
    rank = len(kernel)
    steps = tuple(slice(None, None, s) for s in strides)
    holes = tuple(slice(None, None, d) for d in dilations)
    return view[(slice(None), slice(None), *steps, *holes)], rank


def padded(x: Any, pads: Any, fill: float = 0.0) -> Any:
    return np.pad(x, ((0, 0), (0, 0), *pads), constant_values=fill)


def conv(x: Any, w: Any, pads: Any, strides: Any, dilations: Any, groups: int = 1) -> Any:
    view, rank = windows(padded(x, pads).astype(np.float64), w.shape[2:], strides, dilations)
    n, _, *rest = view.shape
    view = view.reshape(n, groups, -1, *rest)
    weight = w.reshape(groups, -1, *w.shape[1:]).astype(np.float64)
    out, kernel = "xyz"[:rank], "ijk"[:rank]
    result = np.einsum(f"ngc{out}{kernel},goc{kernel}->ngo{out}", view, weight)
    return result.reshape(n, -1, *rest[:rank]).astype(np.float32)


def conv_transpose(x: Any, w: Any, strides: Any, dilations: Any, groups: int = 1) -> Any:
    """The full result: every input element adds its scaled kernel."""
    n, c, *sizes = x.shape
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    full = [(size - 1) * s + span for size, s, span in zip(sizes, strides, spans, strict=True)]
    result = np.zeros((n, groups, w.shape[1], *full))
    split = x.reshape(n, groups, c // groups, *sizes)
    weight = w.reshape(groups, c // groups, *w.shape[1:])
    for place in itertools.product(*map(range, sizes)):
        part = np.einsum("ngc,gco...->ngo...", split[(..., *place)], weight)
        where = [slice(p * s, p * s + span, d) for p, s, span, d in zip(place, strides, spans, dilations, strict=True)]
        result[(slice(None), slice(None), slice(None), *where)] += part
    return result.reshape(n, -1, *full).astype(np.float32)


def same(sizes: Any, kernel: Any, strides: Any, dilations: Any, lower: bool = False) -> Any:
    pads = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (int(np.ceil(size / s)) - 1) * s + (k - 1) * d + 1 - size)
        small, large = total // 2, total - total // 2
        pads.append((large, small) if lower else (small, large))
    return pads


def cut(x: Any, pads: Any) -> Any:
    return x[(..., *(slice(before, size - after) for (before, after), size in zip(pads, x.shape[2:], strict=True)))]


def ints(*values: int) -> Const:
    return Const(np.array(values, np.int32))


def conv_cases() -> list[Case]:
    cases = []
    shapes = {1: (2, 4, 9), 2: (2, 4, 7, 8), 3: (1, 4, 5, 6, 4)}
    kernels = {1: (3,), 2: (3, 2), 3: (2, 3, 1)}
    for rank in (1, 2, 3):
        x, w = floats(*shapes[rank], seed=rank), floats(6, 4, *kernels[rank], seed=rank + 9)
        one, two = (1,) * rank, (2,) * rank
        none, custom = [(0, 0)] * rank, [(1, 2), (0, 1), (1, 0)][:rank]
        sizes, kernel = x.shape[2:], w.shape[2:]
        flat = Const(np.array(custom, np.int32).reshape(-1))
        bias = floats(6, seed=3)
        cases += [
            case(f"conv{rank}d-default", "conv", conv(x, w, none, one, one), x=x, weight=Const(w)),
            case(f"conv{rank}d-valid", "conv", conv(x, w, none, two, one) + bias.reshape(-1, *one), x=x,
                 weight=Const(w), bias=Const(bias), strides=ints(*two), pad_type=Const("valid")),
            case(f"conv{rank}d-custom", "conv", conv(x, w, custom, two, two), x=x, weight=Const(w),
                 strides=ints(*two), dilations=ints(*two), pad_type=Const("custom"), pad=flat),
            case(f"conv{rank}d-same", "conv", conv(x, w, same(sizes, kernel, two, one), two, one), x=x,
                 weight=Const(w), strides=ints(*two), pad_type=Const("same")),
            case(f"conv{rank}d-same_lower", "conv", conv(x, w, same(sizes, kernel, one, one, True), one, one), x=x,
                 weight=Const(w), pad_type=Const("same_lower")),
            case(f"conv{rank}d-groups", "conv", conv(x, w[:, :2], none, one, one, 2), x=x,
                 weight=Const(w[:, :2]), groups=Const(2)),
            case(f"conv{rank}d-depthwise", "conv", conv(x, w[:4, :1], none, one, one, 4), x=x,
                 weight=Const(w[:4, :1]), groups=Const(4)),
        ]  # fmt: skip
        wt = floats(4, 3, *kernel, seed=rank + 20)
        full = conv_transpose(x, wt, two, one)
        total = [k - 2 for k in kernel]
        halves = [(max(t, 0) // 2, t - max(t, 0) // 2) for t in total]
        larger = [s * 2 + 1 for s in sizes]
        wide = floats(4, 3, *(4,) * rank, seed=rank + 30)
        full_wide = conv_transpose(x, wide, two, one)
        cases += [
            case(f"conv_transpose{rank}d-default", "conv_transpose", conv_transpose(x, wt, one, one), x=x,
                 weight=Const(wt)),
            case(f"conv_transpose{rank}d-valid", "conv_transpose", full + bias[:3].reshape(-1, *one), x=x,
                 weight=Const(wt), bias=Const(bias[:3]), strides=ints(*two), pad_type=Const("valid")),
            case(f"conv_transpose{rank}d-custom", "conv_transpose", cut(full_wide, custom), x=x, weight=Const(wide),
                 strides=ints(*two), pad_type=Const("custom"), pad=flat),
            case(f"conv_transpose{rank}d-same", "conv_transpose", cut(full_wide, [(1, 1)] * rank), x=x,
                 weight=Const(wide), strides=ints(*two), pad_type=Const("same")),
            case(f"conv_transpose{rank}d-same-short-kernel", "conv_transpose",
                 np.pad(full, ((0, 0), (0, 0), *((0, max(0, -a)) for _, a in halves)))[
                     (..., *(slice(b, s * 2 + b) for (b, _), s in zip(halves, sizes, strict=True)))],
                 x=x, weight=Const(wt), strides=ints(*two), pad_type=Const("same")),
            case(f"conv_transpose{rank}d-dilated", "conv_transpose", conv_transpose(x, wt, one, two), x=x,
                 weight=Const(wt), dilations=ints(*two)),
            case(f"conv_transpose{rank}d-groups", "conv_transpose", conv_transpose(x, wt[:, :2], two, one, 2), x=x,
                 weight=Const(wt[:, :2]), groups=Const(2), strides=ints(*two)),
            case(f"conv_transpose{rank}d-output-shape", "conv_transpose",
                 full_wide[(..., *(slice(0, s) for s in larger))], x=x, weight=Const(wide), strides=ints(*two),
                 output_shape=ints(x.shape[0], 3, *larger)),
        ]  # fmt: skip
    x, w = floats(1, 2, 5, 5), floats(3, 2, 3, 3)
    cases.append(case("conv-weight-at-run-time", "conv", conv(x, w, [(0, 0)] * 2, (1, 1), (1, 1)), x=x, weight=w))
    x, w = floats(1, 2, 8), floats(2, 3, 3)
    odd = conv_transpose(x, w, (2,), (1,))[..., :16]
    cases.append(case("conv_transpose-same-odd", "conv_transpose", odd, x=x, weight=Const(w), strides=ints(2),
                      pad_type=Const("same")))  # fmt: skip
    return cases


def pool_cases() -> list[Case]:
    cases = []
    for rank, shape in ((1, (2, 3, 9)), (2, (2, 3, 7, 8)), (3, (1, 2, 5, 6, 4))):
        x = floats(*shape, seed=rank)
        kernel, strides, one = (3, 2, 2)[:rank], (2, 2, 1)[:rank], (1,) * rank
        axes = tuple(range(-rank, 0))
        setups = {
            "valid": [(0, 0)] * rank,
            "custom": [(1, 1), (0, 1), (1, 0)][:rank],
            "same": same(x.shape[2:], kernel, strides, one),
            "same_lower": same(x.shape[2:], kernel, strides, one, True),
        }
        for pad_type, pads in setups.items():
            how: dict[str, Any] = {
                "x": x, "kernel_sizes": ints(*kernel), "strides": ints(*strides), "pad_type": Const(pad_type),
            }  # fmt: skip
            if pad_type == "custom":
                how["pad"] = Const(np.array(pads, np.int32).reshape(-1))
            highest, _ = windows(padded(x, pads, -np.inf), kernel, strides, one)
            zeros, _ = windows(padded(x, pads), kernel, strides, one)
            real, _ = windows(padded(np.ones_like(x), pads), kernel, strides, one)
            mean = zeros.mean(axes)
            name = f"{rank}d-{pad_type}"
            exclude = {"exclude_padding_from_average": Const(True)}
            cases += [
                case(f"max_pool{name}", "max_pool", highest.max(axes), **how),
                case(f"avg_pool{name}", "avg_pool", mean, **how, exclude_padding_from_average=Const(False)),
                case(f"avg_pool{name}-exclude", "avg_pool", zeros.sum(axes) / real.sum(axes), **how, **exclude),
            ]
            if rank < 3:
                cases.append(case(f"l2_pool{name}", "l2_pool", np.sqrt((zeros**2).sum(axes)), **how))
    x = floats(1, 2, 9)
    plain, _ = windows(x, (2,), (1,), (1,))
    cases.append(case("max_pool-default-strides", "max_pool", plain.max(-1), x=x, kernel_sizes=ints(2),
                      pad_type=Const("valid")))  # fmt: skip
    return cases


def ceil_cases() -> list[Case]:
    """ceil_mode: x = 0..9, windows of 3 with stride 2; the last one hangs over."""
    x = np.arange(1, 11, dtype=np.float32).reshape(1, 1, 10)
    how: dict[str, Any] = {"x": x, "kernel_sizes": ints(3), "strides": ints(2), "ceil_mode": Const(True)}
    plain, padding = {**how, "pad_type": Const("valid")}, {**how, "pad_type": Const("custom"), "pad": ints(1, 1)}

    def row(*values: float) -> Any:
        return np.array(values, np.float32).reshape(1, 1, -1)

    image = np.arange(1, 26, dtype=np.float32).reshape(1, 1, 5, 5)
    return [
        case("max_pool-ceil", "max_pool", row(3, 5, 7, 9, 10), **plain),
        case("max_pool-ceil-padded", "max_pool", row(2, 4, 6, 8, 10, 10), **padding),
        case("avg_pool-ceil", "avg_pool", row(2, 4, 6, 8, 9.5), **plain),
        case("avg_pool-ceil-padded", "avg_pool", row(1, 3, 5, 7, 9, 5), **padding),
        case("avg_pool-ceil-exclude", "avg_pool", row(1.5, 3, 5, 7, 9, 10), **padding,
             exclude_padding_from_average=Const(True)),
        case("l2_pool-ceil", "l2_pool", np.sqrt(row(14, 50, 110, 194, 181)), **plain),
        case("avg_pool2d-ceil", "avg_pool", np.array([[4, 6, 7.5], [14, 16, 17.5], [21.5, 23.5, 25]], "f")[None, None],
             x=image, kernel_sizes=ints(2, 2), strides=ints(2, 2), pad_type=Const("valid"), ceil_mode=Const(True)),
        case("max_pool-ceil-drops-a-window-in-the-padding", "max_pool", row(1, 4, 7, 10), x=x, kernel_sizes=ints(2),
             strides=ints(3), pad_type=Const("custom"), pad=ints(1, 1), ceil_mode=Const(True)),
    ]  # fmt: skip


CASES = conv_cases() + pool_cases() + ceil_cases()


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_fixed(example: Case) -> None:
    check(example)


def needs_fixed(example: Case) -> bool:
    """Forms whose padding depends on the sizes and that ONNX cannot compute at run time."""
    constant_weight = isinstance(example.inputs.get("weight", Const(0)), Const)
    return "ceil" in example.id or "output-shape" in example.id or not constant_weight


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_flexible(example: Case) -> None:
    if needs_fixed(example):
        with pytest.raises(UnsupportedError, match="flexible"):
            run(example, flexible=True)
    else:
        check(example, flexible=True)


def test_wrong_number_of_paddings_is_an_error() -> None:
    x, w = floats(1, 1, 5), floats(1, 1, 3)
    with pytest.raises(PackageError, match="4 paddings"):
        run(case("", "conv", x, x=x, weight=Const(w), pad_type=Const("custom"), pad=ints(1, 1, 1, 1)))


def test_window_outside_the_input_is_refused() -> None:
    x = floats(1, 1, 5)
    example = case("", "max_pool", x, x=x, kernel_sizes=ints(1), strides=ints(3), pad_type=Const("valid"),
                   ceil_mode=Const(True))  # fmt: skip
    with pytest.raises(UnsupportedError, match="outside the input"):
        run(example)


def test_same_with_dilations_needs_a_fixed_shape() -> None:
    x, w = floats(1, 1, 9), floats(1, 1, 3)
    example = case("", "conv", x, x=x, weight=Const(w), pad_type=Const("same"), dilations=ints(2))
    check(case("", "conv", conv(x, w, [(2, 2)], (1,), (2,)), **example.inputs))
    with pytest.raises(UnsupportedError, match="dilations"):
        run(example, flexible=True)


def test_same_with_gaps_between_windows() -> None:
    """Where the size is known only when it runs, ONNX Runtime would shift the windows; those of 1 need no padding."""
    x = floats(1, 2, 6)
    single = case("", "avg_pool", x[..., ::3], x=x, kernel_sizes=ints(1), strides=ints(3), pad_type=Const("same"))
    check(single)
    check(single, flexible=True)
    gaps = case("", "max_pool", np.maximum(x[..., ::3], x[..., 1::3]), x=x, kernel_sizes=ints(2), strides=ints(3),
                pad_type=Const("same"))  # fmt: skip
    check(gaps)
    with pytest.raises(UnsupportedError, match="gaps"):
        run(gaps, flexible=True)
