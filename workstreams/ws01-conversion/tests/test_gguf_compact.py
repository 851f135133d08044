"""Compact forms of kept codes: indices into a table, then a scale. The values are those of the package gguf."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

from lilims.conversion import convert
from lilims.conversion.emit.check import load_back
from lilims.conversion.estimate import dry_run
from lilims.conversion.gguf.blocks import BLOCKS
from lilims.conversion.gguf.kept import padded_to, survey
from lilims.conversion.lint import lint
from lilims.conversion.random_checkpoint import write_random_checkpoint
from lilims.conversion.stored import Indexed, Quantized
from lilims.core.errors import UsageError
from lilims.runtime import load

from .gguf_files import random_blocks, random_packer, write_gguf
from .test_gguf_codes import SHAPE, entry_of, steps
from .test_gguf_models import PROMPT, WIDE
from .test_reference import relative_rms

FORMS = {
    "IQ4_NL": "lut4 scaled block 32", "IQ4_XS": "lut4 scaled block 32", "MXFP4": "lut4 scaled block 32",
    "Q5_0": "lut6 scaled block 32", "Q5_1": "lut6 scaled block 32 with offset", "Q3_K": "lut3 scaled block 16",
    "Q2_K": "lut2 scaled block 16 with offset", "Q5_K": "lut6 scaled block 32 with offset",
    "Q6_K": "lut6 scaled block 16",
}  # fmt: skip
BITS = {
    "IQ4_NL": 4.5, "IQ4_XS": 4.5, "MXFP4": 4.5,
    "Q5_0": 6.5, "Q5_1": 7, "Q2_K": 4, "Q3_K": 4, "Q5_K": 7, "Q6_K": 7,
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMS)
def test_values_are_those_of_the_safe_form_and_of_gguf(tmp_path: Path, kind: str) -> None:
    raw = random_blocks(kind, *SHAPE, seed=5)
    safe = survey(entry_of(raw, kind, tmp_path / "tensor"), "t")
    found, wanted = safe.compacted().read(0, len(raw)), safe.read(0, len(raw))
    assert isinstance(found, Indexed) and isinstance(wanted, Quantized)
    assert found.label == f"{FORMS[kind]}, unverified"
    assert found.bits == pytest.approx(BITS[kind] + 16 * found.table.size / found.indices.size)
    assert found.bits < wanted.bits
    np.testing.assert_array_equal(found.scale, wanted.scale)
    np.testing.assert_array_equal(found.dequantize(), wanted.dequantize())
    off = np.abs(found.dequantize() - quants.dequantize(raw, GGMLQuantizationType[kind]))
    if safe.error_steps == 0:
        assert not off.any()
    assert safe.compacted().error_steps == safe.error_steps
    assert (off <= (safe.error_steps + 1e-6) * steps(kind, raw)).all()  # ggml rounds its sums to float32
    wide = padded_to((SHAPE[0] + 4, SHAPE[1] + 64), found).dequantize()
    np.testing.assert_array_equal(wide[: SHAPE[0], : SHAPE[1]], wanted.dequantize())
    assert not wide[SHAPE[0] :].any() and not wide[:, SHAPE[1] :].any()


@pytest.mark.parametrize("kind", [kind for kind in BLOCKS if kind not in FORMS])
def test_a_type_whose_codes_take_as_much_room_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    kept = survey(entry_of(random_blocks(kind, *SHAPE, seed=5), kind, tmp_path / "tensor"), "t")
    assert kept.form == "codes" and kept.compacted() is kept


@pytest.mark.parametrize("kind", FORMS)
def test_every_code_has_its_place(tmp_path: Path, kind: str) -> None:
    """The lowest and the highest one too, and what the table has beyond them is named by no index."""
    raw = random_blocks(kind, *SHAPE, seed=5)
    safe = survey(entry_of(raw, kind, tmp_path / "tensor"), "t")
    found, wanted = safe.compacted().read(0, len(raw)), safe.read(0, len(raw))
    assert isinstance(found, Indexed) and isinstance(wanted, Quantized)
    np.testing.assert_array_equal(found.table[0][found.indices], wanted.codes)
    assert set(np.unique(wanted.codes)) == set(BLOCKS[kind].levels)
    assert found.indices.max() < len(BLOCKS[kind].levels) <= found.table.shape[1] == 1 << found.index_bits


@pytest.mark.parametrize("kind", ["Q2_K", "Q5_K"])
def test_groups_with_a_minimum_and_no_scale_are_constants(tmp_path: Path, kind: str) -> None:
    blocks = random_blocks(kind, *SHAPE, seed=5).reshape(-1, quants.GGML_QUANT_SIZES[GGMLQuantizationType[kind]][1])
    at = {"Q2_K": 80, "Q5_K": 0}[kind]  # the fp16 number that scales are multiplied with
    blocks[::2, at : at + 2] = 0
    raw = blocks.reshape(SHAPE[0], -1)
    safe = survey(entry_of(raw, kind, tmp_path / "tensor"), "t")
    found, wanted = safe.compacted().read(0, len(raw)), safe.read(0, len(raw))
    assert isinstance(found, Indexed)
    np.testing.assert_array_equal(found.dequantize(), wanted.dequantize())
    groups = quants.dequantize(raw, GGMLQuantizationType[kind]).reshape(-1, BLOCKS[kind].group)
    flat = np.ptp(groups, axis=1) == 0
    assert flat.mean() > 0.4
    np.testing.assert_allclose(found.dequantize().reshape(groups.shape)[flat], groups[flat], rtol=2**-11)


SAME_FORM = ("IQ4_XS", "MXFP4", "Q5_1")  # as that of another type: the op's shapes have been seen


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in SAME_FORM)) for kind in FORMS])
def test_a_package_gives_the_logits_of_the_safe_form(tmp_path: Path, kind: str) -> None:
    write_random_checkpoint(WIDE, tmp_path / "checkpoint", seed=4)
    path = tmp_path / "model.gguf"
    write_gguf(tmp_path / "checkpoint", path, random_packer(kind))
    safe = convert(path, tmp_path / "safe")
    compact = convert(path, tmp_path / "compact", gguf_forms="compact")
    found, wanted = (load(made.folder, precision="exact").logits(PROMPT) for made in (compact, safe))
    # with offsets, the portable executor sums the safe form in another order: whole zero points, then what they lack
    assert relative_rms(found, wanted) < (1e-5 if "offset" in FORMS[kind] else 1e-6)
    before, after = safe.manifest.quantization, compact.manifest.quantization
    assert after.bits_per_weight < before.bits_per_weight
    changed = {role for role, tensor in after.tensors.items() if tensor.scheme == f"{FORMS[kind]}, unverified"}
    assert len(changed) == 8 and "embedding" not in changed
    assert all(after.tensors[role].error_steps == before.tensors[role].error_steps for role in changed)
    ops = [op.op_type for op in load_back(compact.folder / "model.mlpackage").functions["decode"].operations]
    assert ops.count("constexpr_lut_to_dense") == len(changed)
    estimate = dry_run(path, gguf_forms="compact")
    assert estimate.bits_per_weight == pytest.approx(after.bits_per_weight, abs=0.01)
    assert estimate.weights < dry_run(path).weights
    assert "L201" in {finding.rule.id for finding in lint(compact.folder).findings}
    assert "L201" not in {finding.rule.id for finding in lint(safe.folder).findings}


def test_compact_forms_of_what_is_not_kept_are_refused(tmp_path: Path) -> None:
    write_random_checkpoint(WIDE, tmp_path / "checkpoint", seed=4)
    with pytest.raises(UsageError, match="none are kept"):
        convert(tmp_path / "checkpoint", tmp_path / "model", gguf_forms="compact")
