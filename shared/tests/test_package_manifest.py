"""The manifest of any package, and which of both kinds a folder has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import IntegrityError, ManifestError
from lilims.core.integrity import verify_files
from lilims.core.manifest import Manifest, describe_files, read_manifest, write_manifest
from lilims.core.package_manifest import PackageManifest, package_of, read_any

from .test_manifest import example


def package(folder: Path, **fields: Any) -> PackageManifest:
    (folder / "model.mlpackage").mkdir(parents=True)
    (folder / "model.mlpackage" / "x").write_text("x")
    made = PackageManifest.model_validate(
        {
            "name": "encoder",
            "source": {"name": "encoder.mlpackage", "sha256": "0" * 64},
            "specification_version": 8,
            "functions": {
                "main": {"inputs": {"x": {"dtype": "fp32", "shape": [1, None]}}, "states": {}, "outputs": {}}
            },
            "parameters": 10,
            "compatible_runtime": ">=0.1",
            "tools": {},
            "package": "model.mlpackage",
            "files": describe_files(folder),
            **fields,
        }
    )
    write_manifest(folder, made)
    return made


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = package(tmp_path / "a", licence="MIT")
    assert read_any(tmp_path / "a") == made
    assert package_of(tmp_path / "a") == tmp_path / "a" / "model.mlpackage"
    verify_files(tmp_path / "a", made, verify="full")
    (tmp_path / "a" / "model.mlpackage" / "x").write_text("y")
    with pytest.raises(IntegrityError):
        verify_files(tmp_path / "a", made, verify="full")


def test_a_decoder_is_read_as_one(tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest.model_validate(example()))
    assert isinstance(read_any(tmp_path), Manifest)


def test_who_wants_a_decoder_is_told_what_it_is(tmp_path: Path) -> None:
    package(tmp_path / "a")
    with pytest.raises(ManifestError, match="'lilims.package/1' is not 'lilims.decoder/1'") as caught:
        read_manifest(tmp_path / "a")
    assert "lilims predict" in (caught.value.hint or "")


WRONG = {
    "contract": ({"contract": "lilims.other/1"}, "is not 'lilims.decoder/1' or 'lilims.package/1'"),
    "package": ({"package": "../x"}, "is not a path inside"),
    "file": ({"files": {"/x": {"bytes": 1, "sha256": "0" * 64}}}, "is not a path inside"),
    "name": ({"name": "a/b"}, "name"),
    "more": ({"more": 1}, "more: Extra inputs"),
    "later": ({"schema_version": 2}, "later than this lilims knows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    package(tmp_path / "a")
    change, words = WRONG[case]
    file = tmp_path / "a" / "manifest.json"
    raw = json.loads(file.read_text())
    del raw["digest"]
    file.write_text(json.dumps(raw | change))
    with pytest.raises(ManifestError, match=words):
        read_any(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").write_text(json.dumps(raw | {"parameters": 11, "digest": "0" * 64}))
    with pytest.raises(IntegrityError, match="differs from its own digest"):
        read_any(tmp_path / "a")
