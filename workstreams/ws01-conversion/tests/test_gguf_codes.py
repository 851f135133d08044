"""ggml's blocks as codes, scales and offsets: against the dequantiser of the package gguf."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants
from hypothesis import given, settings
from hypothesis import strategies as st

from lilims.conversion.gguf.blocks import BLOCKS
from lilims.conversion.gguf.header import TYPES, TensorEntry
from lilims.conversion.gguf.kept import Kept, padded_to, read_values, survey
from lilims.conversion.stored import Dense, Quantized
from lilims.core.errors import CheckpointError

from .gguf_files import random_blocks

EXACT = ("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "MXFP4")
ROUNDED = tuple(name for name in BLOCKS if name not in EXACT)
FORMS = {
    "Q4_0": "int4 block 32", "Q4_1": "uint4 block 32 with offset", "Q5_0": "int8 block 32",
    "Q5_1": "uint8 block 32 with offset", "Q8_0": "int8 block 32", "IQ4_NL": "int8 block 32", "MXFP4": "int8 block 32",
    "Q2_K": "uint4 block 16 with offset", "Q3_K": "int4 block 16", "Q4_K": "uint4 block 32 with offset",
    "Q5_K": "uint8 block 32 with offset", "Q6_K": "int8 block 16", "IQ4_XS": "int8 block 32",
}  # fmt: skip
SHAPE = (12, 1024)


def entry_of(raw: np.ndarray, kind: str, path: Path, width: int = SHAPE[1]) -> TensorEntry:
    """Blocks behind eight other bytes of a file."""
    path.write_bytes(b"\0" * 8 + raw.tobytes())
    return TensorEntry(path, kind, (len(raw), width), 8, raw.nbytes)


def stored(kind: str, tmp_path: Path, raw: np.ndarray | None = None) -> tuple[Kept, Quantized, np.ndarray]:
    """A tensor of random blocks as it is kept, and what gguf makes of it."""
    raw = random_blocks(kind, *SHAPE, seed=5) if raw is None else raw
    kept = survey(entry_of(raw, kind, tmp_path / "tensor"), "t")
    found = kept.read(0, len(raw))
    assert isinstance(found, Quantized)
    return kept, found, quants.dequantize(raw, GGMLQuantizationType[kind])


def steps(kind: str, raw: np.ndarray) -> np.ndarray:
    """The distance between neighbouring codes of each value; of groups without a scale their value, if any."""
    block = BLOCKS[kind]
    scale, bias = block.scales(raw.reshape(-1, TYPES_BY_NAME[kind][2]))
    step = np.abs(np.where(scale == 0, 0 if bias is None else bias, scale)).astype(np.float64)
    return np.repeat(step, block.group, axis=1).reshape(len(raw), -1)


TYPES_BY_NAME = {name: (id_, block, size) for id_, (name, block, size) in TYPES.items()}


def test_types_are_those_of_gguf() -> None:
    ours = {GGMLQuantizationType(id_).name: (block, size) for id_, (_, block, size) in TYPES.items()}
    assert [name for name, _, _ in TYPES.values()] == list(ours)
    assert ours == {name: quants.GGML_QUANT_SIZES[GGMLQuantizationType[name]] for name in ours}


@pytest.mark.parametrize("kind", BLOCKS)
def test_values_are_ggmls_to_the_last_bit(kind: str) -> None:
    """Blocks of random bytes: any code, any scale, but for those that are infinite or no numbers."""
    raw = np.random.default_rng(1).integers(0, 256, (3000, TYPES_BY_NAME[kind][2]), dtype=np.uint8)
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = quants.dequantize(raw, GGMLQuantizationType[kind])
        found = BLOCKS[kind].dequantize(raw)
    finite = np.isfinite(wanted)
    assert finite.mean() > 0.8
    np.testing.assert_array_equal(found[finite].view(np.uint32), wanted[finite].view(np.uint32))


@pytest.mark.parametrize("kind", EXACT)
def test_codes_and_scales_are_kept_bit_for_bit(tmp_path: Path, kind: str) -> None:
    kept, found, wanted = stored(kind, tmp_path)
    assert (kept.form, kept.error_steps, found.label) == ("codes", 0.0, FORMS[kind])
    np.testing.assert_array_equal(found.dequantize(), wanted)


@pytest.mark.parametrize("kind", ROUNDED)
def test_rounded_scales_and_offsets_stay_within_what_is_recorded(tmp_path: Path, kind: str) -> None:
    kept, found, wanted = stored(kind, tmp_path)
    assert (kept.form, found.label) == ("codes", FORMS[kind])
    exact = (found.codes.astype(np.float64) - _spread(found, found.offset)) * _spread(found, found.scale)
    step = steps(kind, random_blocks(kind, *SHAPE, seed=5))
    off = np.divide(np.abs(exact - wanted), step, out=np.abs(exact - wanted), where=step > 0)
    assert off.max() <= kept.error_steps + 1e-4  # ggml rounds its sums to float32
    assert kept.error_steps / 4 < off.max()  # the bound is near what happens
    assert 0 < kept.error_steps < 0.15


def _spread(found: Quantized, values: np.ndarray | None) -> np.ndarray:
    wide = np.zeros(found.scale.shape) if values is None else values.astype(np.float64)
    return np.repeat(wide, found.group_size, axis=1)


def test_a_minimum_that_is_a_whole_number_of_steps_is_exact(tmp_path: Path) -> None:
    raw = random_blocks("Q4_1", *SHAPE, seed=6).reshape(-1, 20)
    scale = raw[:, :2].copy().view("<f2")
    raw[:, 2:4] = (scale.astype(np.float32) * -8).astype("<f2").view(np.uint8)  # a power of two, or fp16 would round it
    kept, found, wanted = stored("Q4_1", tmp_path, raw.reshape(SHAPE[0], -1))
    assert kept.error_steps == 0
    np.testing.assert_array_equal(found.dequantize(), wanted)


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q2_K", "Q4_1"])
def test_groups_without_a_scale_keep_their_minimum(tmp_path: Path, kind: str) -> None:
    raw = random_blocks(kind, *SHAPE, seed=7).reshape(-1, TYPES_BY_NAME[kind][2])
    flat = slice(0, None, 3)
    if kind == "Q4_1":
        raw[flat, :2] = 0
    elif kind == "Q2_K":
        raw[flat, :16] &= 0xF0
    else:
        raw[flat, 4:8] &= 0xC0
        raw[flat, 12:16] &= 0xF0
    kept, found, wanted = stored(kind, tmp_path, raw.reshape(SHAPE[0], -1))
    groups = wanted.reshape(-1, BLOCKS[kind].group)
    alike = (groups == groups[:, :1]).all(axis=1) & (groups[:, 0] != 0)
    assert alike.sum() > 20
    np.testing.assert_allclose(found.dequantize().reshape(groups.shape)[alike], groups[alike], rtol=2**-11)
    assert kept.form == "codes" and np.isfinite(found.scale).all() and found.offset is not None
    assert np.isfinite(found.offset).all()


def test_a_block_of_zeros_is_zero(tmp_path: Path) -> None:
    kept, found, wanted = stored("Q4_0", tmp_path, np.zeros((SHAPE[0], 18 * 32), np.uint8))
    assert kept.error_steps == 0 and not found.dequantize().any() and not wanted.any()


def test_shared_exponents_beyond_fp16_do_no_harm_where_codes_are_zero(tmp_path: Path) -> None:
    raw = random_blocks("MXFP4", *SHAPE, seed=8).reshape(-1, 17)
    raw[::4] = 0  # what quantising zeros gives: 2^-128
    kept, found, wanted = stored("MXFP4", tmp_path, raw.reshape(SHAPE[0], -1))
    assert kept.error_steps == 0
    np.testing.assert_array_equal(found.dequantize(), wanted)


def test_shared_exponents_beyond_fp16_make_a_tensor_fp16(tmp_path: Path) -> None:
    raw = random_blocks("MXFP4", *SHAPE, seed=9).reshape(-1, 17)
    raw[5, 0] = 128 - 25
    raw = raw.reshape(SHAPE[0], -1)
    kept = survey(entry_of(raw, "MXFP4", tmp_path / "tensor"), "t")
    found = kept.read(0, len(raw))
    assert (kept.form, kept.error_steps) == ("fp16", 1.0) and isinstance(found, Dense)
    np.testing.assert_array_equal(found.values, quants.dequantize(raw, GGMLQuantizationType.MXFP4).astype(np.float16))


@pytest.mark.parametrize("kind", ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "TQ1_0", "TQ2_0"])
def test_other_types_become_int8(tmp_path: Path, kind: str) -> None:
    at = {"TQ1_0": 52, "TQ2_0": 64}.get(kind, 0)
    raw = random_blocks("Q4_0", 1, 32, seed=1)
    size = TYPES_BY_NAME[kind][2]
    raw = np.random.default_rng(3).integers(0, 256, (SHAPE[0] * 4, size), dtype=np.uint8)
    raw[:, at : at + 2] = np.array([0.01], "<f2").view(np.uint8)
    raw = raw.reshape(SHAPE[0], -1)
    kept, found, wanted = stored(kind, tmp_path, raw)
    assert (kept.form, found.label) == ("int8", "int8 block 32")
    step = np.repeat(found.scale.astype(np.float64), 32, axis=1)
    assert (np.abs(found.dequantize() - wanted) / step).max() <= kept.error_steps * 1.05


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q4_0", "Q6_K"])
def test_rows_are_read_alone_and_in_any_order(tmp_path: Path, kind: str) -> None:
    if kind in BLOCKS:
        raw = random_blocks(kind, *SHAPE, seed=2)
    else:
        values = np.random.default_rng(2).standard_normal(SHAPE, np.float32)
        raw = quants.quantize(values, GGMLQuantizationType[kind]).view(np.uint8)
    entry = entry_of(raw, kind, tmp_path / "tensor")
    whole = read_values(entry, "t", 0, SHAPE[0])
    np.testing.assert_array_equal(read_values(entry, "t", 3, 7), whole[3:7])
    kept, order = survey(entry, "t"), np.array([4, 0, 2])
    all_rows = kept.read(0, SHAPE[0]).dequantize()
    np.testing.assert_array_equal(kept.read(3, 8, order).dequantize(), all_rows[3:8][order])
    wide = padded_to((4, 1088), kept.read(0, 3)).dequantize()
    np.testing.assert_array_equal(wide[:3, :1024], all_rows[:3])
    assert not wide[3:].any() and not wide[:, 1024:].any()


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K", "Q6_K"])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_scales_that_are_no_numbers_are_refused(tmp_path: Path, kind: str, bad: float) -> None:
    raw = random_blocks(kind, *SHAPE, seed=2).reshape(-1, TYPES_BY_NAME[kind][2])
    at = 208 if kind == "Q6_K" else 0
    raw[7, at : at + 2] = np.array([bad], "<f2").view(np.uint8)
    entry = entry_of(raw.reshape(SHAPE[0], -1), kind, tmp_path / "tensor")
    for read in (lambda: survey(entry, "t"), lambda: read_values(entry, "t", 0, SHAPE[0])):
        with pytest.raises(CheckpointError, match=r"tensor 't' holds NaN or infinite"):
            read()


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(list(BLOCKS)), seed=st.integers(0, 2**32))
def test_any_bytes_are_refused_or_stored_within_the_recorded_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int
) -> None:
    """Raw bytes with any scales: tiny, huge, negative, none. What is stored is finite, and as near as it says."""
    _, block, size = TYPES_BY_NAME[kind]
    random = np.random.default_rng(seed)
    raw = random.integers(0, 256, (4, 2 * size), dtype=np.uint8)
    raw[:, random.integers(0, 2 * size, size // 4)] = 0
    entry = entry_of(raw, kind, tmp_path_factory.getbasetemp() / "any", 2 * block)
    try:
        kept = survey(entry, "t")
    except CheckpointError:
        return
    if kept.form != "codes":
        assert kept.form == "fp16"
        return
    found = kept.read(0, 4)
    assert isinstance(found, Quantized)
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = quants.dequantize(raw, GGMLQuantizationType[kind]).astype(np.float64)
    step = steps(kind, raw)
    exact = (found.codes.astype(np.float64) - _spread(found, found.offset)) * _spread(found, found.scale)
    float32 = 2.0**-22 * np.abs(wanted)  # ggml's own rounding
    assert (np.abs(exact - wanted) <= kept.error_steps * step * (1 + 1e-9) + float32).all()
