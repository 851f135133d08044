"""1×1 convolutions over codes against the plain graph, which unpacks the weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .build import Fn, Runner, literal

N, K, S = 24, 64, 5
FEED = np.random.default_rng(3).normal(size=(1, K, 1, S)).astype(np.float32)


def convolution(
    groups: int, *, dtype: str = "int4", offset: bool = False, bias: bool = False, **options: Any
) -> tuple[Fn, Any, np.ndarray]:
    """conv of `FEED` with random codes; what it computes, [1, N, 1, S]."""
    random = np.random.default_rng(groups)
    low = {"int4": -8, "uint4": 0, "int8": -128}[dtype]
    codes = random.integers(low, low + (256 if dtype == "int8" else 16), (N, K)).astype(
        np.uint8 if low == 0 else np.int8
    )
    scale = (random.normal(size=(N, groups)) * 0.1).astype(np.float16)
    shift = random.integers(low, low + 16, (N, groups)).astype(np.float16)
    fn = Fn()
    x = fn.input("x", "fp32", (1, K, 1, S))
    weight = fn.op(
        "constexpr_blockwise_shift_scale",
        ("fp16", (N, K, 1, 1)),
        data=literal(codes.reshape(N, K, 1, 1), dtype),
        scale=scale.reshape(N, groups, 1, 1),
        offset=shift.reshape(N, groups, 1, 1) if offset else None,
    )
    b = random.normal(size=N).astype(np.float32)
    y = fn.op("conv", ("fp32", (1, N, 1, S)), x=x, weight=weight, bias=b if bias else None, **options)
    spread = lambda values: np.repeat(values.astype(np.float32), K // groups, 1)  # noqa: E731
    matrix = (codes - (spread(shift) if offset else 0)) * spread(scale)
    wanted = np.einsum("nk,bkhs->bnhs", matrix, FEED) + (b[:, None, None] if bias else 0)
    return fn, y, wanted


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("offset", [False, True], ids=["", "offset"])
@pytest.mark.parametrize(("groups", "dtype"), [(2, "int4"), (4, "uint4"), (1, "int4")])
def test_it_is_a_product_over_codes(groups: int, dtype: str, offset: bool, bias: bool) -> None:
    fn, y, wanted = convolution(groups, dtype=dtype, offset=offset, bias=bias, pad_type="valid")
    fused, plain = Runner(fn.function(y)), Runner(fn.function(y), fused=False)
    assert "lilims.quantized_linear" in fused.op_types
    assert "conv" not in fused.op_types
    assert "MatMulNBits" in fused.nodes
    assert "Conv" in plain.nodes
    np.testing.assert_allclose(fused(x=FEED)[0], wanted, atol=1e-4)
    np.testing.assert_allclose(plain(x=FEED)[0], wanted, atol=1e-4)


OTHERS: dict[str, dict[str, Any]] = {
    "stride": {"strides": [1, 2]},
    "padding": {"pad_type": "custom", "pad": [0, 0, 1, 1]},
    "eight-bit": {"dtype": "int8"},
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_convolutions_stay(case: str) -> None:
    """Strides and padding are no product; 8-bit codes have no exact kernel."""
    fn, y, _ = convolution(2, **OTHERS[case])
    assert "conv" in Runner(fn.function(y)).op_types
