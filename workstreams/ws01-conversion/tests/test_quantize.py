"""Codes, scales and offsets against their definition, block by block; and the names of schemes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lilims.conversion.quantize import Scheme, choose_group, parse_scheme, quantize
from lilims.conversion.stored import Dense, Quantized
from lilims.core.errors import QuantizationError

MATRICES = arrays.arrays(np.float32, (3, 32), elements=st.floats(-1000, 1000, width=32))


def stored(matrix: np.ndarray, text: str, group: int = 32, importance: np.ndarray | None = None) -> Quantized:
    found = quantize(matrix, parse_scheme(text, group), name="t", importance=importance)
    assert isinstance(found, Quantized)
    return found


def blocks(values: np.ndarray, group: int) -> np.ndarray:
    return values.reshape(values.shape[0], -1, group)


def naive(matrix: np.ndarray, bits: int, group: int) -> np.ndarray:
    """What is stored symmetrically, dequantised: straight from the definition, one block at a time."""
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


def naive_asymmetric(matrix: np.ndarray, bits: int, group: int) -> np.ndarray:
    """The same with unsigned codes: the range of a block and 0, a whole number of steps below 0."""
    high = 2**bits - 1
    result = np.zeros(matrix.shape, np.float32)
    for row, values in enumerate(matrix):
        for first in range(0, len(values), group):
            block = values[first : first + group]
            bottom, top = min(block.min(), np.float32(0)), max(block.max(), np.float32(0))
            scale = np.float32(np.float16(top / np.float32(high) - bottom / np.float32(high)))
            if scale > 0:
                offset = min(max(int(np.round(-bottom / scale)), 0), high)
                codes = [min(max(int(np.round(v / scale)) + offset, 0), high) for v in block]
                result[row, first : first + group] = (np.array(codes, np.float32) - offset) * scale
    return result


@pytest.mark.parametrize("group", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("bits", [8, 4])
def test_stored_values_are_those_of_the_definition(bits: int, group: int) -> None:
    """256, the whole width, is one scale for each output channel."""
    matrix = np.random.default_rng(0).standard_normal((5, 256), dtype=np.float32)
    found = stored(matrix, f"int{bits}-channel" if group == 256 else f"int{bits}-g{group}")
    assert found.bits == bits + 16 / group
    assert found.label == f"int{bits} " + ("per channel" if group == 256 else f"block {group}")
    np.testing.assert_array_equal(found.dequantize(), naive(matrix, bits, group))


@pytest.mark.parametrize("width", [256, 1024])
@pytest.mark.parametrize("spread", ["g16", "g32", "g128", "channel"])
@pytest.mark.parametrize("bits", [8, 4])
def test_asymmetric_values_are_those_of_the_definition(bits: int, spread: str, width: int) -> None:
    """Most blocks lie on both sides of 0, the last rows on one; a width of 1024 is laid out the other way."""
    matrix = np.random.default_rng(1).standard_normal((6, width), dtype=np.float32) + 0.5
    matrix[4:] = np.abs(matrix[4:]) * np.array([[1], [-1]], np.float32)
    found = stored(matrix, f"int{bits}-asym-{spread}")
    group = width if spread == "channel" else int(spread[1:])
    assert found.codes.dtype == np.uint8 and int(found.codes.max()) < 2**bits
    assert found.label == f"uint{bits} " + ("per channel" if group == width else f"block {group}") + " with offset"
    assert found.bits == bits + 32 / group
    assert found.offset is not None and (found.offset == np.rint(found.offset)).all()
    np.testing.assert_array_equal(found.dequantize(), naive_asymmetric(matrix, bits, group))


@settings(max_examples=100, deadline=None)
@given(MATRICES, st.sampled_from([("int8", 127), ("int4", 7), ("int8-asym", 255), ("int4-asym", 15)]))
def test_error_is_at_most_half_a_step_and_what_fp16_scales_lose(matrix: np.ndarray, scheme: tuple[str, int]) -> None:
    found = stored(matrix, scheme[0])
    step = found.scale.astype(np.float32)
    steps = 1.0 if "asym" in scheme[0] else 0.5  # where 0 is moved to a whole step, one end loses another half
    bound = steps * step + np.abs(matrix).max(axis=1, keepdims=True) / 512 + scheme[1] * 6e-8  # fp16 has 11 bits
    assert (np.abs(found.dequantize() - matrix) <= bound).all()


def test_the_negative_side_uses_its_extra_code() -> None:
    matrix = np.zeros((1, 32), np.float32)
    matrix[0, 0], matrix[0, 1] = -8.0, 7.0
    found = stored(matrix, "int4")
    assert found.codes[0, :2].tolist() == [-8, 7]
    assert found.scale[0, 0] == 1.0


@pytest.mark.parametrize(
    "scheme", ["int4", "int8", "int4-search", "int4-asym", "int8-asym-channel", "int4-asym-search"]
)
def test_zeros_stay_zeros(scheme: str) -> None:
    """In blocks of nothing else, and among other values: padding must change no result."""
    matrix = np.random.default_rng(0).standard_normal((4, 64), dtype=np.float32)
    matrix[1], matrix[2, ::3], matrix[3] = 0, 0, np.abs(matrix[3]) + 1
    matrix[3, 7] = 0
    found = stored(matrix, scheme)
    assert (found.scale != 0).all()
    assert not found.dequantize()[matrix == 0].any()


def error(found: Quantized, matrix: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted squared error of each block, in float64."""
    off = (found.dequantize().astype(np.float64) - matrix) ** 2 * weights.astype(np.float64)
    return blocks(off, found.group_size).sum(axis=2)


@settings(max_examples=150, deadline=None)
@given(
    MATRICES,
    arrays.arrays(np.float32, 32, elements=st.floats(0, 100, width=32)) | st.none(),
    st.sampled_from(["int4", "int8", "int4-asym", "int4-channel", "int4-g16"]),
)
def test_search_is_never_worse_on_any_block(matrix: np.ndarray, weights: np.ndarray | None, scheme: str) -> None:
    plain = stored(matrix, f"{scheme}-rtn", importance=weights)
    found = stored(matrix, f"{scheme}-search", importance=weights)
    h = np.ones(32, np.float32) if weights is None else weights
    assert (error(found, matrix, h) <= error(plain, matrix, h)).all()
    assert found.codes.min() >= (0 if "asym" in scheme else -(2 ** (found.code_bits - 1)))


@pytest.mark.parametrize(
    ("scheme", "most"),
    [("int4", 0.81), ("int4-g128", 0.78), ("int4-channel", 0.68), ("int4-asym", 0.95), ("int8", 1.0)],
)
def test_what_search_gains_on_normal_weights(scheme: str, most: float) -> None:
    """Squared error against rounding to nearest; with weights it is the weighted error that shrinks as much."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((64, 1024), dtype=np.float32)
    for weights in (np.ones(1024, np.float32), rng.exponential(1, 1024).astype(np.float32)):
        plain, found = (stored(matrix, f"{scheme}-{how}", importance=weights) for how in ("rtn", "search"))
        gain = error(found, matrix, weights).sum() / error(plain, matrix, weights).sum()
        assert 0.3 < gain <= most


def test_search_comes_near_the_best_scale_there_is() -> None:
    """Brute force over 4,000 scales of either sign: blocks are on average within 4 % of the least error."""
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((40, 32), dtype=np.float32)
    ones = np.ones(32, np.float32)
    found = error(stored(matrix, "int4-search"), matrix, ones)[:, 0]
    least = np.full(40, np.inf)
    for share in np.linspace(0.4, 1.2, 2000):
        for sign in (-1, 1):
            scale = sign * share * np.abs(matrix).max(axis=1, keepdims=True) / 8
            codes = np.clip(np.rint(matrix / scale), -8, 7)
            least = np.minimum(least, ((codes * scale - matrix) ** 2).sum(axis=1))
    assert (found / least).mean() < 1.04


def test_weights_move_the_error_away_from_the_channels_that_matter() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((32, 64), dtype=np.float32)
    weights = np.ones(64, np.float32)
    weights[::8] = 100
    blind, aware = stored(matrix, "int4-search"), stored(matrix, "int4-search", importance=weights)
    off = [((one.dequantize() - matrix) ** 2)[:, ::8].sum() for one in (blind, aware)]
    assert off[1] < 0.6 * off[0]


@pytest.mark.parametrize(
    ("width", "wanted", "group"), [(64, 32, 32), (48, 32, 16), (48, 128, 16), (192, 128, 64), (50, 32, 50)]
)
def test_the_next_group_size_that_divides(width: int, wanted: int, group: int) -> None:
    assert choose_group(width, wanted) == group


@pytest.mark.parametrize(
    ("scheme", "label"), [("int4", "int8 per channel"), ("int4-asym", "uint8 per channel with offset")]
)
def test_a_width_that_nothing_divides_becomes_8_bits_per_channel(scheme: str, label: str) -> None:
    matrix = np.random.default_rng(0).standard_normal((4, 50), dtype=np.float32)
    found = stored(matrix, scheme)
    assert found.label == label
    wanted = naive(matrix, 8, 50) if scheme == "int4" else naive_asymmetric(matrix, 8, 50)
    np.testing.assert_array_equal(found.dequantize(), wanted)


@pytest.mark.parametrize("scheme", ["int4", "int4-search", "int4-asym-search", "int4-channel"])
def test_rows_are_processed_in_parts_without_a_seam(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    rng = np.random.default_rng(0)
    matrix, weights = rng.standard_normal((37, 64), dtype=np.float32), rng.random(64, dtype=np.float32)
    whole = stored(matrix, scheme, importance=weights)
    monkeypatch.setattr("lilims.conversion.quantize._AT_ONCE", 5 * 64)
    parts = stored(matrix, scheme, importance=weights)
    np.testing.assert_array_equal(whole.codes, parts.codes)
    np.testing.assert_array_equal(whole.scale, parts.scale)
    np.testing.assert_array_equal(whole.offset, parts.offset)


@pytest.mark.parametrize("shape", [(1, 2), (3,), (2, 3, 4)])
def test_fp16_rounds_to_nearest(shape: tuple[int, ...]) -> None:
    values = np.full(shape, 1 + 2**-12, np.float32)
    values.flat[1] = 2**-30
    found = quantize(values, Scheme("fp16"), name="t")
    assert isinstance(found, Dense)
    assert found.values.ravel()[:2].tolist() == [1.0, 0.0]
    assert found.bits == 16


def test_vectors_stay_fp16_whatever_is_asked() -> None:
    assert isinstance(quantize(np.ones(64, np.float32), parse_scheme("int4"), name="t"), Dense)


@pytest.mark.parametrize(
    ("scheme", "value"),
    [("fp16", 70000.0), ("int4", 1e6), ("int8", 1e8), ("int4-asym-search", 1e6), ("lut4", 70000.0)],
)
def test_values_beyond_fp16_are_refused_by_name(scheme: str, value: float) -> None:
    with pytest.raises(QuantizationError, match="fp16") as caught:
        quantize(np.full((1, 32), value, np.float32), parse_scheme(scheme), name="model.big")
    assert caught.value.where == "model.big"


@pytest.mark.parametrize("scheme", ["int4", "int4-search", "int8-search", "int4-asym-search"])
def test_the_largest_and_the_smallest_values_that_fit(scheme: str) -> None:
    matrix = np.array([[65504 * 7.0, -65504 * 7.0] * 16, [3e-9, -2e-8] * 16], np.float32)
    found = stored(matrix, scheme).dequantize()
    assert np.isfinite(found).all()
    assert np.abs(found[0] / matrix[0] - 1).max() < 0.2


NAMES: dict[str, Any] = {
    "fp16": ("fp16", Scheme("fp16")),
    "int4": ("int4", Scheme("int", 4, group=64)),
    "int8-g128": ("int8", Scheme("int", 8, group=128)),
    "int4-asym": ("int4-asym", Scheme("int", 4, asymmetric=True, group=64)),
    "int4-asym-g16-search": ("int4-asym-search", Scheme("int", 4, True, 16, method="search")),
    "int8-channel-rtn": ("int8-channel", Scheme("int", 8)),
    "lut3": ("lut3", Scheme("lut", 3)),
    "lut6-r16": ("lut6-r16", Scheme("lut", 6, rows=16)),
}


@pytest.mark.parametrize("text", NAMES)
def test_names_of_schemes(text: str) -> None:
    title, scheme = NAMES[text]
    assert parse_scheme(text, 64) == scheme
    assert scheme.title == title
    assert parse_scheme(str(scheme)) == scheme  # nothing is left to a default


@pytest.mark.parametrize(
    "text",
    ["", "int3", "int4-g24", "int4-g32-channel", "int4-search-asym", "fp16-g32", "lut5", "lut4-r3", "INT4", "int4 "],
)
def test_what_is_no_scheme(text: str) -> None:
    with pytest.raises(ValueError, match=f"{text!r} is not a scheme"):
        parse_scheme(text)


@pytest.mark.parametrize(
    ("text", "shape", "fitted"),
    [
        ("int4-g128", (8, 192), "int4-g64-rtn"),
        ("int4-search", (8, 50), "int8-channel-search"),
        ("int4-channel", (8, 50), "int4-channel-rtn"),
        ("lut4-r32", (24, 50), "lut4-r8"),
        ("lut4-r8", (7, 50), "lut4"),
        ("lut4-r8", (7,), "fp16"),
        ("int4", (64,), "fp16"),
    ],
)
def test_what_becomes_of_a_scheme_that_does_not_fit(text: str, shape: tuple[int, ...], fitted: str) -> None:
    assert str(parse_scheme(text).fitted(shape)) == fitted
