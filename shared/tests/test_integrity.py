"""Model folders whose bytes are not those that were recorded; what is hashed when."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lilims.core import integrity
from lilims.core.errors import IntegrityError, LilimsError, UsageError
from lilims.core.integrity import Verify, verify_files
from lilims.core.manifest import Manifest, describe_files, read_manifest, write_manifest

from .test_manifest import changed

WEIGHTS = "model.mlpackage/weights"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with two files and its manifest."""
    folder = tmp_path / "model"
    (folder / "model.mlpackage").mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(b"abc")
    (folder / "model.mlpackage" / "manifest.json").write_bytes(b"an inner file of that name counts")
    (folder / "manifest.json").write_bytes(b"the manifest itself does not")
    write_manifest(folder, Manifest.model_validate(changed("files", describe_files(folder))))
    return folder


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are hashed. Every file counts as large."""
    seen: list[str] = []
    original = integrity.sha256_file

    def sha256_file(path: Path) -> str:
        seen.append(path.name)
        return original(path)

    monkeypatch.setattr(integrity, "sha256_file", sha256_file)
    monkeypatch.setattr(integrity, "ALWAYS", 0)
    return seen


@pytest.mark.parametrize("verify", ["auto", "full", "sizes"])
def test_an_intact_folder(folder: Path, verify: Verify) -> None:
    manifest = read_manifest(folder)
    assert list(manifest.files) == ["model.mlpackage/manifest.json", WEIGHTS]
    verify_files(folder, manifest, verify=verify)


@pytest.mark.parametrize(
    ("data", "verify", "words"),
    [
        (None, "sizes", "is missing"),
        (b"abcd", "sizes", "has 4 bytes, 3 are recorded"),
        (b"abd", "auto", "differ from the recorded SHA-256"),
        (b"abd", "full", "differ from the recorded SHA-256"),
    ],
    ids=["missing", "size", "auto", "full"],
)
def test_changed_files_are_named(folder: Path, data: bytes | None, verify: Verify, words: str) -> None:
    path = folder / WEIGHTS
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(IntegrityError, match=words) as caught:
        verify_files(folder, read_manifest(folder), verify=verify)
    assert caught.value.where == str(path)
    assert caught.value.hint == "convert or pull the model again"


def test_sizes_alone_do_not_see_a_changed_byte(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"abd")
    verify_files(folder, read_manifest(folder), verify="sizes")


def test_a_verification_that_does_not_exist(folder: Path) -> None:
    with pytest.raises(UsageError, match="'twice'"):
        verify_files(folder, read_manifest(folder), verify="twice")  # type: ignore[arg-type]


def test_large_files_are_hashed_once(folder: Path, hashed: list[str]) -> None:
    manifest = read_manifest(folder)
    for _ in range(3):
        verify_files(folder, manifest)
    assert hashed == ["manifest.json", "weights"]
    verify_files(folder, manifest, verify="full")
    assert hashed == ["manifest.json", "weights"] * 2


def test_large_files_are_hashed_again_when_touched(folder: Path, hashed: list[str]) -> None:
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    found = (folder / WEIGHTS).stat()
    (folder / WEIGHTS).write_bytes(b"abd")
    os.utime(folder / WEIGHTS, ns=(found.st_atime_ns, found.st_mtime_ns))  # the change hides its time
    with pytest.raises(IntegrityError, match="differ"):
        verify_files(folder, manifest)
    assert hashed == ["manifest.json", "weights", "weights"]


def test_a_failed_check_is_not_remembered(folder: Path, hashed: list[str]) -> None:
    manifest = read_manifest(folder)
    (folder / WEIGHTS).write_bytes(b"abd")
    for _ in range(2):
        with pytest.raises(IntegrityError, match="differ"):
            verify_files(folder, manifest)


@pytest.mark.parametrize("stamps", [b"{", b"[]", b'{"model.mlpackage/weights": 7}'], ids=["cut", "list", "other"])
def test_damaged_stamps_cost_a_hash(folder: Path, home: Path, hashed: list[str], stamps: bytes) -> None:
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    (file,) = (home / "cache" / "verified").iterdir()
    file.write_bytes(stamps)
    verify_files(folder, manifest)
    assert hashed == ["manifest.json", "weights"] * 2


def test_a_home_that_cannot_be_written_is_no_failure(folder: Path, home: Path, hashed: list[str]) -> None:
    home.write_bytes(b"a file where the folder should be")
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    verify_files(folder, manifest)
    assert hashed == ["manifest.json", "weights"] * 2


def outcome(folder: Path) -> Manifest | str:
    """What reading the manifest comes to; a flip in the space between two tokens changes nothing."""
    try:
        return read_manifest(folder)
    except LilimsError as error:
        return "an error that names it" if str(folder / "manifest.json") in str(error) else str(error)


def test_a_flipped_bit_anywhere_in_the_manifest_is_noticed(folder: Path) -> None:
    path = folder / "manifest.json"
    raw, manifest = path.read_bytes(), read_manifest(folder)
    for place in range(len(raw)):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert outcome(folder) in ("an error that names it", manifest), place


def test_a_manifest_of_others_needs_no_digest(folder: Path) -> None:
    path = folder / "manifest.json"
    raw = json.loads(path.read_text())
    del raw["digest"]
    path.write_text(json.dumps(raw))
    manifest = read_manifest(folder)
    raw["context"] = 32
    path.write_text(json.dumps(raw))
    assert (manifest.context, read_manifest(folder).context) == (64, 32)
