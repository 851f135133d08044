"""Codes and scales against the definition, block by block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lilims.conversion.quantize import Scheme, choose_group, quantize
from lilims.conversion.stored import Dense, Quantized
from lilims.core.errors import QuantizationError


def naive(matrix: np.ndarray, bits: int, group: int) -> np.ndarray:
    """What is stored, dequantised: straight from the definition, one block at a time."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    result = np.zeros(matrix.shape, np.float32)
    for row, values in enumerate(matrix):
        for first in range(0, len(values), group):
            block = values[first : first + group]
            scale = np.float32(np.float16(max(block.max() / high, block.min() / low)))
            if scale > 0:
                codes = [min(max(int(np.round(v / scale)), low), high) for v in block]
                result[row, first : first + group] = np.array(codes, np.float32) * scale
    return result


@pytest.mark.parametrize("group", [16, 32, 64, 128])
@pytest.mark.parametrize(("scheme", "bits"), [("int8", 8), ("int4", 4)])
def test_stored_values_are_those_of_the_definition(scheme: Scheme, bits: int, group: int) -> None:
    matrix = np.random.default_rng(0).standard_normal((5, 256), dtype=np.float32)
    stored = quantize(matrix, scheme, group, name="t")
    assert isinstance(stored, Quantized)
    assert stored.bits == bits + 16 / group
    assert stored.label == f"{scheme} block {group}"
    np.testing.assert_array_equal(stored.dequantize(), naive(matrix, bits, group))


@settings(max_examples=100, deadline=None)
@given(
    arrays.arrays(np.float32, (3, 32), elements=st.floats(-1000, 1000, width=32)),
    st.sampled_from(["int8", "int4"]),
)
def test_error_is_at_most_half_a_step_and_what_fp16_scales_lose(matrix: np.ndarray, scheme: Scheme) -> None:
    stored = quantize(matrix, scheme, 32, name="t")
    assert isinstance(stored, Quantized)
    step = stored.scale.astype(np.float32)
    top = {"int8": 127, "int4": 7}[scheme]
    bound = step / 2 + np.abs(matrix) / 1024 + top * 6e-8  # fp16 keeps 11 bits, and nothing below 6e-8
    assert (np.abs(stored.dequantize() - matrix) <= bound).all()


def test_the_negative_side_uses_its_extra_code() -> None:
    matrix = np.zeros((1, 32), np.float32)
    matrix[0, 0], matrix[0, 1] = -8.0, 7.0
    stored = quantize(matrix, "int4", 32, name="t")
    assert isinstance(stored, Quantized)
    assert stored.codes[0, :2].tolist() == [-8, 7]
    assert stored.scale[0, 0] == 1.0


def test_zero_blocks_stay_zero() -> None:
    stored = quantize(np.zeros((2, 64), np.float32), "int4", 32, name="t")
    assert isinstance(stored, Quantized)
    assert not stored.codes.any()
    assert (stored.scale > 0).all()


@pytest.mark.parametrize(
    ("width", "wanted", "group"), [(64, 32, 32), (48, 32, 16), (48, 128, 16), (192, 128, 64), (50, 32, 50)]
)
def test_the_next_group_size_that_divides(width: int, wanted: int, group: int) -> None:
    assert choose_group(width, wanted) == group


def test_a_width_that_nothing_divides_becomes_int8_per_channel() -> None:
    matrix = np.random.default_rng(0).standard_normal((4, 50), dtype=np.float32)
    stored = quantize(matrix, "int4", 32, name="t")
    assert isinstance(stored, Quantized)
    assert stored.label == "int8 per channel"
    np.testing.assert_array_equal(stored.dequantize(), naive(matrix, 8, 50))


def test_rows_are_processed_in_parts_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(0).standard_normal((37, 64), dtype=np.float32)
    whole = quantize(matrix, "int4", 32, name="t")
    monkeypatch.setattr("lilims.conversion.quantize._ROWS_AT_ONCE", 5 * 64)
    parts = quantize(matrix, "int4", 32, name="t")
    assert isinstance(whole, Quantized)
    assert isinstance(parts, Quantized)
    np.testing.assert_array_equal(whole.codes, parts.codes)
    np.testing.assert_array_equal(whole.scale, parts.scale)


def test_fp16_rounds_to_nearest() -> None:
    values = np.array([[1 + 2**-12, 2**-30]], np.float32)
    stored = quantize(values, "fp16", 32, name="t")
    assert isinstance(stored, Dense)
    assert stored.values.tolist() == [[1.0, 0.0]]
    assert stored.bits == 16


@pytest.mark.parametrize(("scheme", "value"), [("fp16", 70000.0), ("int4", 1e6), ("int8", 1e8)])
def test_values_beyond_fp16_are_refused_by_name(scheme: Scheme, value: float) -> None:
    with pytest.raises(QuantizationError, match="fp16") as caught:
        quantize(np.full((1, 32), value, np.float32), scheme, 32, name="model.big")
    assert caught.value.where == "model.big"
