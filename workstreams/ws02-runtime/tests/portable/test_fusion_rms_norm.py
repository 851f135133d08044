"""RMS normalisation: both of its written-out forms against the plain graph and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lilims.runtime.portable.program import Function, Ref

from .build import Fn, Runner

DIM = 32
GAMMA = np.random.default_rng(0).normal(size=DIM).astype(np.float16)
ROOT = np.float32(0.003)  # its square is epsilon
WIDE, ONE = ("fp16", (2, 3, DIM)), ("fp16", (2, 3, 1))


def norm(form: str, swap: bool = False, change: str = "") -> Function:
    fn = Fn()
    x = fn.input("x", "fp16", (2, 3, DIM))

    def mul(a: Any, b: Any, wide: bool = True) -> Ref:
        found: Ref = fn.op("mul", WIDE if wide else ONE, **({"x": b, "y": a} if swap else {"x": a, "y": b}))
        return found

    epsilon: Any = np.float32(ROOT * ROOT)
    scaled = x
    if form == "scaled":
        largest = fn.op("reduce_max", ONE, x=fn.op("abs", WIDE, x=x), axes=[-1], keep_dims=True)
        m = fn.op("maximum", ONE, x=largest, y=np.float32(1e-4))
        scaled = fn.op("real_div", WIDE, x=x, y=m)
        small = fn.op(
            "real_div", ONE, x=ROOT, y=fn.op("maximum", ONE, x=largest, y=np.float32(9)) if change == "m" else m
        )
        epsilon = mul(small, small, wide=False)
    axes = [1] if change == "axes" else [2] if swap else [-1]
    mean = fn.op("reduce_mean", ONE, x=mul(scaled, scaled), axes=axes, keep_dims=True)
    if form == "own":
        factor = fn.op("rsqrt", ONE, x=mean, epsilon=epsilon)
    else:
        given = {"x": epsilon, "y": mean} if swap else {"x": mean, "y": epsilon}
        factor = fn.op("rsqrt", ONE, x=fn.op("add", ONE, **given), epsilon=np.float32(0))
    normed = mul(scaled, factor)
    y = mul(normed, x if change == "gamma" else fn.const(GAMMA))
    return fn.function(y, normed) if change == "second use" else fn.function(y)


FEEDS = {
    "ordinary": np.random.default_rng(1).normal(size=(2, 3, DIM)).astype(np.float32),
    "tiny": np.random.default_rng(2).normal(size=(2, 3, DIM)).astype(np.float32) * 1e-3,
    "large": np.random.default_rng(3).normal(size=(2, 3, DIM)).astype(np.float32) * 1e4,
    "zeros": np.zeros((2, 3, DIM), np.float32),
}


@pytest.mark.parametrize("swap", [False, True], ids=["", "swapped"])
@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("form", ["scaled", "plain", "own"])
def test_both_forms_are_one_node(form: str, feed: str, swap: bool) -> None:
    x = FEEDS[feed].astype(np.float16).astype(np.float32)
    fused, plain = Runner(norm(form, swap)), Runner(norm(form, swap), fused=False)
    assert fused.op_types == ["lilims.rms_norm"]
    found = fused(x=x)[0]
    expected = x / np.sqrt(np.mean(x.astype(np.float64) ** 2, -1, keepdims=True) + float(ROOT) ** 2) * GAMMA
    assert np.allclose(found, plain(x=x)[0], rtol=1e-4, atol=1e-5)
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", ["axes", "gamma", "second use", "m"])
def test_what_only_looks_like_it_stays_plain(change: str) -> None:
    fused, plain = Runner(norm("scaled", change=change)), Runner(norm("scaled", change=change), fused=False)
    assert "lilims.rms_norm" not in fused.op_types
    for found, expected in zip(fused(x=FEEDS["ordinary"]), plain(x=FEEDS["ordinary"]), strict=True):
        assert np.array_equal(found, expected)


def test_fp16_keeps_every_result() -> None:
    assert "lilims.rms_norm" not in Runner(norm("scaled"), "fp16").op_types
