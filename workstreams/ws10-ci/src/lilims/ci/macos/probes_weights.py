"""Probes of compressed weights: one linear each, against the dequantised matrix in NumPy.

Knows the forms that lilims writes and those that it would like to. Must not know who runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import open_package
from .comparing import PRODUCT, differences, judge
from .packages import dtype, write_package
from .rungs import Finding, Target

__all__ = ["float_offset", "int4_group_32", "lut_then_scale", "negative_scale", "nested_scale"]

_IN, _OUT, _GROUP, _TOKENS = 128, 64, 32, 4
_GROUPS = (_OUT, _IN // _GROUP)


def _linear(target: Target, wanted: NDArray[np.float64], weight: Callable[[Any], Any]) -> Finding:
    """Multiplies random rows by the matrix [out, in] that `weight` builds, and by what it should be."""
    inputs = {"x": ("fp16", (1, _TOKENS, _IN))}
    bias = np.zeros(_OUT, np.float16)
    functions = {"main": (inputs, lambda mb, given: mb.linear(x=given["x"], weight=weight(mb), bias=bias))}
    opened = open_package(write_package(target.work / "linear.mlpackage", functions), target)
    x = np.random.default_rng(1).standard_normal((1, _TOKENS, _IN)).astype(np.float16).astype(np.float32)
    figures = differences(opened.predict("main", {"x": x}), x.astype(np.float64) @ wanted.T)
    return judge(figures, PRODUCT, f"{_OUT} × {_IN} matrix")


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def _scales() -> NDArray[np.float16]:
    return _random().uniform(0.005, 0.02, _GROUPS).astype(np.float16)


def _blocks(values: NDArray[Any]) -> NDArray[np.float64]:
    """One value a block, for every weight of it."""
    return np.repeat(values.astype(np.float64), _GROUP, axis=1)


def int4_group_32(target: Target) -> Finding:
    """Signed 4-bit codes in blocks of 32, no offset: the default scheme."""
    codes, scale = _random().integers(-8, 8, (_OUT, _IN)), _scales()
    data = codes.astype(dtype("int4"))
    return _linear(
        target, codes * _blocks(scale), lambda mb: mb.constexpr_blockwise_shift_scale(data=data, scale=scale)
    )


def negative_scale(target: Target) -> Finding:
    """The same where every second scale is below zero, as a search may choose."""
    codes, scale = _random().integers(-8, 8, (_OUT, _IN)), _scales()
    scale[:, ::2] *= np.float16(-1)
    data = codes.astype(dtype("int4"))
    return _linear(
        target, codes * _blocks(scale), lambda mb: mb.constexpr_blockwise_shift_scale(data=data, scale=scale)
    )


def float_offset(target: Target) -> Finding:
    """Unsigned 4-bit codes with fp16 offsets between two codes, as int4-asym and GGUF's Q4_1 have them."""
    codes, scale = _random().integers(0, 16, (_OUT, _IN)), _scales()
    offset = (_random().integers(5, 10, _GROUPS) + 0.375).astype(np.float16)
    data = codes.astype(dtype("uint4"))
    wanted = (codes - _blocks(offset)) * _blocks(scale)
    return _linear(target, wanted, lambda mb: mb.constexpr_blockwise_shift_scale(data=data, scale=scale, offset=offset))


def nested_scale(target: Target) -> Finding:
    """Block scales that are 8-bit codes with a scale a row: a constant computed from constants."""
    codes = _random().integers(-8, 8, (_OUT, _IN))
    inner, outer = _random().integers(20, 120, _GROUPS), _scales()[:, :1] / np.float16(64)
    data, nested = codes.astype(dtype("int4")), inner.astype(np.int8)

    def weight(mb: Any) -> Any:
        scale = mb.constexpr_blockwise_shift_scale(data=nested, scale=outer)
        return mb.constexpr_blockwise_shift_scale(data=data, scale=scale)

    return _linear(target, codes * _blocks(inner * outer.astype(np.float64)), weight)


def lut_then_scale(target: Target) -> Finding:
    """4-bit indices of a table of int8 values, then a scale a block: the compact form of GGUF's IQ4_NL."""
    indices, scale = _random().integers(0, 16, (_OUT, _IN)), _scales() / np.float16(16)
    table = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)
    data, lut = indices.astype(dtype("uint4")), table.reshape(1, 1, 16, 1)

    def weight(mb: Any) -> Any:
        values = mb.constexpr_lut_to_dense(indices=data, lut=lut)
        return mb.constexpr_blockwise_shift_scale(data=values, scale=scale)

    return _linear(target, table[indices] * _blocks(scale), weight)
