"""Compact forms of kept codes: indices into a table, then a scale. The values are those of the package gguf."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

from lilims.conversion import convert
from lilims.conversion.emit.check import load_back
from lilims.conversion.estimate import dry_run
from lilims.conversion.gguf.kept import padded_to, survey
from lilims.conversion.lint import lint
from lilims.conversion.random_checkpoint import write_random_checkpoint
from lilims.conversion.stored import Indexed
from lilims.core.errors import UsageError
from lilims.runtime import load

from .gguf_files import random_blocks, random_packer, write_gguf
from .test_gguf_codes import SHAPE, entry_of
from .test_gguf_models import PROMPT, WIDE
from .test_reference import relative_rms

KINDS = ("IQ4_NL", "IQ4_XS", "MXFP4")
LABEL = "lut4 scaled block 32, unverified"


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_safe_form_and_of_gguf(tmp_path: Path, kind: str) -> None:
    raw = random_blocks(kind, *SHAPE, seed=5)
    safe = survey(entry_of(raw, kind, tmp_path / "tensor"), "t")
    found, wanted = safe.compacted().read(0, len(raw)), safe.read(0, len(raw))
    assert isinstance(found, Indexed) and found.label == LABEL
    assert found.bits < 4.6 < wanted.bits
    np.testing.assert_array_equal(found.dequantize(), wanted.dequantize())
    if safe.error_steps == 0:
        np.testing.assert_array_equal(found.dequantize(), quants.dequantize(raw, GGMLQuantizationType[kind]))
    else:  # scales of 17 bits as fp16's 11
        np.testing.assert_allclose(found.dequantize(), quants.dequantize(raw, GGMLQuantizationType[kind]), rtol=2**-11)
    wide = padded_to((SHAPE[0] + 4, SHAPE[1] + 64), found).dequantize()
    np.testing.assert_array_equal(wide[: SHAPE[0], : SHAPE[1]], wanted.dequantize())
    assert not wide[SHAPE[0] :].any() and not wide[:, SHAPE[1] :].any()


def test_a_type_without_a_table_stays_as_it_is(tmp_path: Path) -> None:
    kept = survey(entry_of(random_blocks("Q4_0", *SHAPE, seed=5), "Q4_0", tmp_path / "tensor"), "t")
    assert kept.compacted() is kept


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_gives_the_logits_of_the_safe_form(tmp_path: Path, kind: str) -> None:
    write_random_checkpoint(WIDE, tmp_path / "checkpoint", seed=4)
    path = tmp_path / "model.gguf"
    write_gguf(tmp_path / "checkpoint", path, random_packer(kind))
    safe = convert(path, tmp_path / "safe")
    compact = convert(path, tmp_path / "compact", gguf_forms="compact")
    found, wanted = (load(made.folder, precision="exact").logits(PROMPT) for made in (compact, safe))
    assert relative_rms(found, wanted) < 1e-6
    before, after = safe.manifest.quantization, compact.manifest.quantization
    assert after.bits_per_weight < before.bits_per_weight
    changed = {role for role, tensor in after.tensors.items() if tensor.scheme == LABEL}
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
