"""Figures in the manifest: bound to the bytes they are of, replaced by newer ones, and no part of the model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lilims.conversion.evaluation.measure import Evaluation
from lilims.conversion.evaluation.record import comparable, quality_of, record
from lilims.conversion.evaluation.sources import PackageSpec
from lilims.core.errors import StorageError, UsageError
from lilims.core.manifest import identity, read_manifest, write_manifest
from lilims.runtime import load


@pytest.fixture
def copied(compared: Evaluation, tmp_path: Path) -> Evaluation:
    """The same evaluation of a copy of the model."""
    folder = Path(shutil.copytree(compared.model.folder, tmp_path / "copy"))
    return replace(compared, model=PackageSpec(folder))


def test_what_is_recorded(copied: Evaluation) -> None:
    folder, before = copied.model.folder, identity(read_manifest(copied.model.folder))
    record(copied)
    manifest = read_manifest(folder)
    (one,) = manifest.quality
    assert identity(manifest) == before == one.model
    assert (one.text, one.windowing, one.context, one.tokens) == ("story", "llama.cpp", 64, copied.summary.tokens)
    assert (one.perplexity, one.bits_per_byte) == (copied.summary.perplexity, copied.summary.bits_per_byte)
    assert one.reference is not None and copied.summary.comparison is not None
    assert one.reference.sha256 == identity(read_manifest(copied.reference.folder))  # type: ignore[union-attr]
    assert one.reference.divergence == copied.summary.comparison.divergence.value
    assert load(folder, verify="full").manifest.quality == [one]


def test_the_same_again_replaces_and_another_is_kept_too(copied: Evaluation) -> None:
    record(copied)
    record(copied)
    alone = replace(copied, reference=None)
    record(alone)
    record(alone)
    found = read_manifest(copied.model.folder).quality
    assert [one.reference is None for one in found] == [False, True]


def test_figures_of_other_bytes_go_and_are_not_compared(copied: Evaluation) -> None:
    record(copied)
    folder = copied.model.folder
    assert comparable(quality_of(copied), [folder]) == {
        "copy": (pytest.approx(4.86, abs=0.01), copied.summary.perplexity)
    }
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"mask_value": -9e3}))
    assert comparable(quality_of(replace(copied, model=PackageSpec(folder))), [folder, folder / "absent"]) == {}
    record(copied)
    assert len(read_manifest(folder).quality) == 1


def test_another_text_is_not_comparable(copied: Evaluation) -> None:
    record(copied)
    fewer = replace(copied, windows=copied.windows[:1])
    assert comparable(quality_of(fewer), [copied.model.folder]) == {}


def test_ids_without_a_text_are_not_recorded(copied: Evaluation) -> None:
    with pytest.raises(UsageError, match="only what was measured on a text"):
        record(replace(copied, text=None))


def test_a_disk_that_fails_leaves_the_manifest(copied: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (copied.model.folder / "manifest.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StorageError, match="the disk is full"):
        record(copied)
    monkeypatch.undo()
    assert (copied.model.folder / "manifest.json").read_bytes() == before
    assert list(copied.model.folder.glob(".*.tmp")) == []
