"""Ops that sum, normalise or sort, in NumPy: reductions, products, convolutions, norms, pools, order.

Written from coremltools' docstrings. Must not know the executor.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from .maker import FLOATS, NUMBERS, Maker, Skip, Tensor, known

# -- reductions --------------------------------------------------------------------------------------------------------

SUMS: dict[str, Any] = {
    "reduce_sum": np.sum, "reduce_max": np.max, "reduce_min": np.min, "reduce_prod": np.prod,
    "reduce_l1_norm": lambda x, **how: np.abs(x).sum(**how), "reduce_sum_square": lambda x, **how: (x * x).sum(**how),
}  # fmt: skip
MEANS: dict[str, Any] = {
    "reduce_mean": np.mean, "reduce_l2_norm": lambda x, **how: np.sqrt((x * x).sum(**how)),
    "reduce_log_sum": lambda x, **how: np.log(np.sum(x, **how)),
    "reduce_log_sum_exp": lambda x, **how: np.log(np.exp(x).sum(**how)),
}  # fmt: skip


@known(*SUMS, *MEANS)
def reduce(m: Maker, op: str) -> None:
    least, most = (0.125, 1e4) if op == "reduce_log_sum" else (-50, 50) if op == "reduce_log_sum_exp" else (-1e4, 1e4)
    x = m.pick(*(NUMBERS if op in SUMS else FLOATS), where=lambda a: least <= a.min() and a.max() <= most)
    axes, keep = m.axes(x.rank) if m.flag() else None, m.choice((None, False, True))
    how = {"axis": None if axes is None else tuple(axes), "keepdims": bool(keep)}
    found = (SUMS | MEANS)[op](x.array, **how)
    m.result(op, found, like=x, exact=op in SUMS, x=x, axes=axes, keep_dims=keep)


@known("reduce_argmax", "reduce_argmin")
def reduce_arg(m: Maker, op: str) -> None:
    x = m.pick(*NUMBERS, exact=True)
    axis, keep = m.axis(x.rank), m.flag()
    found = (np.argmax if op == "reduce_argmax" else np.argmin)(x.array, axis, keepdims=keep)
    m.result(op, found, like="int32", exact=True, x=x, axis=axis, keep_dims=keep)


# -- products ----------------------------------------------------------------------------------------------------------


@known("matmul")
def matmul(m: Maker, op: str) -> None:
    """NumPy's, with vectors on either side; the last two dimensions may lie the other way round."""
    x = m.pick(*NUMBERS, high=4)
    turned = x.rank > 1 and m.flag()
    left = np.swapaxes(x.array, -1, -2) if turned else x.array
    rank = m.integer(1, 4)
    batch = [1 if m.flag() else size for size in left.shape[:-2]][max(0, left.ndim - rank) :] if rank > 2 else []
    shape = (*batch, left.shape[-1], m.integer(1, 3)) if rank > 1 else left.shape[-1:]
    y_turned = rank > 1 and m.flag()
    stored = (*shape[:-2], shape[-1], shape[-2]) if y_turned else shape
    y = m.operand(m.numbers(stored, x.dtype, -2, 2), x.dtype)
    right = np.swapaxes(y.array, -1, -2) if y_turned else y.array
    given = {"transpose_x": turned, "transpose_y": y_turned}
    m.result(op, left @ right, like=x, exact=True, x=x, y=y, **{k: v for k, v in given.items() if v or m.flag()})


@known("linear")
def linear(m: Maker, op: str) -> None:
    x = m.pick(*FLOATS)
    weight = m.literal(m.numbers((m.integer(1, 4), x.shape[-1]), x.dtype, -2, 2), x.dtype)
    bias = m.literal(m.numbers(weight.shape[:1], x.dtype), x.dtype) if m.flag() else None
    found = x.array @ weight.array.T + (0 if bias is None else bias.array)
    m.result(op, found, like=x, exact=True, x=x, weight=weight, bias=bias)


@known("einsum")
def einsum(m: Maker, op: str) -> None:
    rank = m.choice((3, 4))
    x = m.new((2, 3, 2, 3)[-rank:], FLOATS)
    shape = (*x.shape[:-3], x.shape[-1], x.shape[-2], m.integer(1, 3))
    y = m.operand(m.numbers(shape, x.dtype, -2, 2), x.dtype)
    equation = "nchw,nwhu->nchu" if rank == 4 else "chw,whr->chr"
    found = np.einsum(equation, x.array, y.array)
    m.result(op, found, like=x, exact=True, values=[x, y], equation=equation)


@known("scaled_dot_product_attention")
def attention(m: Maker, op: str) -> None:
    if m.year < 18:
        raise Skip
    batch, width, keys = (m.integer(1, 2), *((2,) if m.flag() else ())), m.choice((2, 4)), m.integer(1, 4)
    query = m.new((*batch, m.integer(1, 3), width), FLOATS)
    key, value = (m.operand(m.numbers((*batch, keys, n), query.dtype, -1, 1), query.dtype) for n in (width, 3))
    scores = query.array @ np.swapaxes(key.array, -1, -2) / np.sqrt(width)
    kind, mask = m.choice(("none", "bool", "float")), None
    if kind == "bool":
        mask = m.literal(np.tri(query.shape[-2], keys, dtype=bool))
        scores = np.where(mask.array, scores, -np.inf)
    elif kind == "float":
        mask = m.operand(m.numbers((query.shape[-2], keys), query.dtype), query.dtype)
        scores = scores + mask.array
    found = _softmax(scores, -1) @ value.array
    m.result(op, found, like=query, exact=False, query=query, key=key, value=value, attn_mask=mask)


def _padding(m: Maker, sizes: tuple[int, ...], kernel: list[int], strides: list[int]) -> tuple[str, list[int]]:
    """How the edges are padded: the kind, and before and after each dimension."""
    kind = m.choice(("valid", "custom", "same", "same_lower") if m.year >= 16 else ("valid", "custom", "same"))
    if kind == "valid":
        return kind, [0] * (2 * len(sizes))
    if kind == "custom":
        return kind, [m.integer(0, 1) for _ in range(2 * len(sizes))]
    pads = []
    for size, wide, step in zip(sizes, kernel, strides, strict=True):
        total = max((ceil(size / step) - 1) * step + wide - size, 0)
        small, large = total // 2, total - total // 2
        pads += [small, large] if kind == "same" else [large, small]
    return kind, pads


def _windows(x: Any, kernel: list[int], strides: list[int], dilations: list[int]) -> Any:
    """[N, C, places …, kernel …]"""
    axes = tuple(range(2, x.ndim))
    wide = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if any(size < w for size, w in zip(x.shape[2:], wide, strict=True)):
        raise Skip
    view = np.lib.stride_tricks.sliding_window_view(x, wide, axes)
    cut = (
        slice(None),
        slice(None),
        *(slice(None, None, s) for s in strides),
        *(slice(None, None, d) for d in dilations),
    )
    return view[cut]


@known("conv")
def conv(m: Maker, op: str) -> None:
    rank, groups = m.integer(1, 3), m.choice((1, 1, 2))
    x = m.new((m.integer(1, 2), groups * m.integer(1, 2), *(m.choice((3, 4, 1)) for _ in range(rank))), FLOATS)
    kernel, strides, dilations = ([m.choice(c) for _ in range(rank)] for c in ((1, 2, 3), (1, 2), (1, 1, 2)))
    wide = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    kind, pads = _padding(m, x.shape[2:], wide, strides)
    out = groups * m.integer(1, 2)
    weight = m.literal(m.numbers((out, x.shape[1] // groups, *kernel), x.dtype, -2, 2), x.dtype)
    bias = m.literal(m.numbers((out,), x.dtype), x.dtype) if m.flag() else None
    padded = np.pad(x.array, [(0, 0), (0, 0), *zip(pads[::2], pads[1::2], strict=True)])
    views = np.split(_windows(padded, kernel, strides, dilations), groups, 1)
    space = "xyz"[:rank]
    parts = [
        np.einsum(f"nc{space}{space.upper()},oc{space.upper()}->no{space}", view, part)
        for view, part in zip(views, np.split(weight.array, groups, 0), strict=True)
    ]
    found = np.concatenate(parts, 1) + (0 if bias is None else bias.array.reshape(-1, *[1] * rank))
    m.result(op, found, like=x, exact=True, x=x, weight=weight, bias=bias, strides=strides, pad_type=kind,
             pad=pads if kind == "custom" else [0] * (2 * rank), dilations=dilations, groups=groups)  # fmt: skip


@known("max_pool", "avg_pool", "l2_pool")
def pool(m: Maker, op: str) -> None:
    rank = m.integer(1, 2 if op == "l2_pool" else 3)
    x = m.new((m.integer(1, 2), m.integer(1, 2), *(m.choice((4, 3)) for _ in range(rank))), FLOATS)
    kernel, strides = ([m.choice(c) for _ in range(rank)] for c in ((2, 1, 3), (1, 2)))
    kind, pads = _padding(m, x.shape[2:], kernel, strides)
    if any(max(pair) >= k for *pair, k in zip(pads[::2], pads[1::2], kernel, strict=True)):
        raise Skip  # a window of nothing but padding
    edges = [(0, 0), (0, 0), *zip(pads[::2], pads[1::2], strict=True)]
    axes, ones = tuple(range(-rank, 0)), [1] * rank
    given: dict[str, Any] = {}

    def windows(array: Any, fill: float) -> Any:
        return _windows(np.pad(array, edges, constant_values=fill), kernel, strides, ones)

    if op == "max_pool":
        found = windows(x.array, -np.inf).max(axes)
    elif op == "l2_pool":
        found = np.sqrt((windows(x.array, 0) ** 2).sum(axes))
    else:
        excluded = m.flag()
        given["exclude_padding_from_average"] = excluded
        counts = windows(np.ones_like(x.array), 0 if excluded else 1).sum(axes)
        found = windows(x.array, 0).sum(axes) / counts
    m.result(op, found, like=x, exact=op == "max_pool", x=x, kernel_sizes=kernel, strides=strides, pad_type=kind,
             pad=pads if kind == "custom" else [0] * (2 * rank), **given)  # fmt: skip


# -- norms -------------------------------------------------------------------------------------------------------------


def _softmax(x: Any, axis: int) -> Any:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


@known("softmax")
def softmax(m: Maker, op: str) -> None:
    x = m.pick()
    axis = m.axis(x.rank)
    m.result(op, _softmax(x.array, axis), like=x, exact=False, x=x, axis=axis)


def _normal(m: Maker, x: Tensor, axes: tuple[int, ...], epsilon: float) -> Any:
    variance = x.array.var(axes, keepdims=True)
    if variance.min() < 0.01:
        raise Skip
    return (x.array - x.array.mean(axes, keepdims=True)) / np.sqrt(variance + epsilon)


def _vectors(m: Maker, x: Tensor, shape: tuple[int, ...], *names: str) -> dict[str, Tensor]:
    return {name: m.literal(m.numbers(shape, x.dtype, 1, 3), x.dtype) for name in names}


@known("layer_norm")
def layer_norm(m: Maker, op: str) -> None:
    """Over some axes; gain and bias have their sizes."""
    x = m.pick(low=2)
    axes = sorted(axis % x.rank for axis in m.axes(x.rank))
    shape = tuple(x.shape[axis] for axis in axes)
    vectors = _vectors(m, x, shape, *("gamma", "beta")[: m.integer(0, 2)])
    found = _normal(m, x, tuple(axes), 0.125)
    spread = tuple(x.shape[axis] if axis in axes else 1 for axis in range(x.rank))
    for name, compute in (("gamma", np.multiply), ("beta", np.add)):
        if name in vectors:
            found = compute(found, vectors[name].array.reshape(spread))
    given = [axis - x.rank if m.flag() else axis for axis in axes]
    m.result(op, found, like=x, exact=False, x=x, axes=given, epsilon=m.literal(0.125, x.dtype), **vectors)


@known("instance_norm", "batch_norm")
def channel_norm(m: Maker, op: str) -> None:
    """Of each channel: by its own mean and variance, or by given ones."""
    x = m.pick(low=3, high=4 if op == "instance_norm" else 5)
    spread = (-1, *[1] * (x.rank - 2))
    vectors = _vectors(m, x, (x.shape[1],), *(("gamma", "beta") if m.flag() else ()))
    if op == "instance_norm":
        found = _normal(m, x, tuple(range(2, x.rank)), 0.125)
    else:
        known_ones = _vectors(m, x, (x.shape[1],), "mean", "variance")
        mean, variance = (known_ones[name].array.reshape(spread) for name in ("mean", "variance"))
        found = (x.array - mean) / np.sqrt(variance + 0.125)
    if vectors:
        found = found * vectors["gamma"].array.reshape(spread) + vectors["beta"].array.reshape(spread)
    given = vectors if op == "instance_norm" else vectors | known_ones
    m.result(op, found, like=x, exact=False, x=x, epsilon=m.literal(0.125, x.dtype), **given)


@known("l2_norm")
def l2_norm(m: Maker, op: str) -> None:
    """Over the last three dimensions."""
    x = m.pick(low=3)
    length = np.sqrt((x.array**2).sum((-1, -2, -3), keepdims=True) + 0.5)
    m.result(op, x.array / length, like=x, exact=False, x=x, epsilon=m.literal(0.5, x.dtype))


# -- order and making --------------------------------------------------------------------------------------------------


@known("cumsum")
def cumsum(m: Maker, op: str) -> None:
    x = m.pick(*NUMBERS)
    axis, exclusive, backwards = m.axis(x.rank), m.flag(), m.flag()
    array = np.flip(x.array, axis) if backwards else x.array
    found = np.cumsum(array, axis) - (array if exclusive else 0)
    found = np.flip(found, axis) if backwards else found
    m.result(op, found, like=x, exact=True, x=x, axis=axis, exclusive=exclusive, reverse=backwards)


def _distinct(m: Maker) -> tuple[Tensor, int]:
    """A value and an axis along which nothing comes twice."""
    x = m.pick(*NUMBERS, exact=True)
    axis = m.axis(x.rank)
    if (np.diff(np.sort(x.array, axis), axis=axis) == 0).any():
        raise Skip
    return x, axis


@known("topk", "argsort")
def order(m: Maker, op: str) -> None:
    x, axis = _distinct(m)
    ascending, k = m.flag(), m.integer(1, x.shape[axis])
    places = np.argsort(x.array if ascending else -x.array, axis)
    if op == "argsort":
        return m.result(op, places, like="int32", exact=True, x=x, axis=axis, ascending=ascending)
    places = np.take(places, range(k), axis)
    values = np.take_along_axis(x.array, places, axis)
    if m.year >= 16 and m.flag():
        return m.result(op, values, like=x, exact=True, x=x, k=k, axis=axis, ascending=ascending, return_indices=False)
    types = f"{x.dtype},int32"
    return m.result(op, values, places, like=types, exact=True, x=x, k=k, axis=axis, ascending=ascending)


@known("one_hot")
def one_hot(m: Maker, op: str) -> None:
    size = m.integer(1, 4)
    indices = m.pick("int32", high=4, where=lambda a: a.min() >= 0 and a.max() < size)
    rank, on, off = indices.rank + 1, m.choice((None, 3)), m.choice((None, -1))
    axis = m.axis(rank)
    hit = np.moveaxis(np.arange(size) == indices.array[..., None], -1, axis)
    found = np.where(hit, 1 if on is None else on, 0 if off is None else off)
    given = {"on_value": on, "off_value": off}
    m.result(op, found, like="int32", exact=True, indices=indices, one_hot_vector_size=size, axis=axis, **given)


@known("band_part")
def band_part(m: Maker, op: str) -> None:
    x = m.pick(low=2)
    lower, upper = m.integer(-1, 2), m.integer(-1, 2)
    row, column = np.indices(x.shape[-2:])
    kept = ((lower < 0) | (row - column <= lower)) & ((upper < 0) | (column - row <= upper))
    m.result(op, x.array * kept, like=x, exact=True, x=x, lower=lower, upper=upper)


@known("fill", "fill_like")
def fill(m: Maker, op: str) -> None:
    dtype = m.choice((*NUMBERS, "bool"))
    value = m.literal(m.numbers((), dtype), dtype)
    if op == "fill":
        shape = m.shape(1, 4)
        return m.result(
            op, np.full(shape, value.array), like=dtype, exact=True, shape=m.parameter(list(shape)), value=value
        )
    if m.year < 16:
        raise Skip
    x = m.pick(*NUMBERS)
    return m.result(op, np.full(x.shape, value.array), like=dtype, exact=True, ref_tensor=x, value=value)


@known("range_1d")
def range_1d(m: Maker, op: str) -> None:
    dtype = m.choice(("int32", "fp32", "fp16"))
    start, count, step = m.integer(-4, 4), m.integer(1, 6), m.choice((1, 2, -1))
    ends = {"start": start, "end": start + count * step, "step": step}
    given = {
        name: m.literal(np.array(number, float if dtype in FLOATS else int), dtype) for name, number in ends.items()
    }
    m.result(op, start + step * np.arange(count), like=dtype, exact=True, **given)


@known("non_zero")
def non_zero(m: Maker, op: str) -> None:
    x = m.pick(*NUMBERS, exact=True)
    if not m.program.flexible:
        raise Skip
    m.result(op, np.argwhere(x.array), like="int32", exact=True, x=x)
