"""Archives: written the same always; read from anybody without harm."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lilims.core.errors import IntegrityError, LilimsError, OutputExistsError
from lilims.models.archive.read import extract
from lilims.models.archive.write import write_archive
from lilims.models.errors import ArchiveError, ModelTooLargeError

from .conftest import write_model

LIMIT = 1_000_000


@pytest.fixture
def model(tmp_path: Path) -> Path:
    long = "/".join(["model.mlpackage", "x" * 90, "y" * 90])
    write_model(tmp_path / "tiny", files={"tokenizer.json": b"{}", "é.txt": b"1", long: b"z" * 1000})
    return tmp_path / "tiny"


def test_the_same_bytes_whenever_and_wherever_it_is_written(model: Path, tmp_path: Path) -> None:
    first = write_archive(model, tmp_path / "a.tar", name="tiny-1.0.0")
    os.utime(model / "tokenizer.json", (5, 5))
    (model / "tokenizer.json").chmod(0o600)
    (model / "not-in-the-manifest").write_text("x")
    (tmp_path / "again").mkdir()
    second = write_archive(model, tmp_path / "again" / "b.tar", name="tiny-1.0.0")
    assert first == second
    data = (tmp_path / "a.tar").read_bytes()
    assert first == (hashlib.sha256(data).hexdigest(), len(data))
    assert data == (tmp_path / "again" / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        entries = tar.getmembers()
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {(entry.mtime, entry.uid, entry.uname, entry.mode) for entry in entries} == {(0, 0, "", 0o644)}
    assert not any("not-in" in entry.name for entry in entries)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "again", "tiny"]


def header(name: str, size: int) -> bytes:
    """The ustar header of POSIX.1-1988 for a file of nobody, without time."""
    fields = [name.encode().ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size]
    fields += [b"00000000000\0", b" " * 8, b"0", bytes(100), b"ustar\x0000", bytes(64)]
    block = b"".join(fields).ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    write_model(folder, files={"tokenizer.json": b"{}"})
    write_archive(folder, tmp_path / "a.tar", name="tiny-1.0.0")
    expected = b""
    for name in ("manifest.json", "model.mlpackage/Manifest.json", "tokenizer.json"):
        data = (folder / name).read_bytes()
        expected += header(f"tiny-1.0.0/{name}", len(data)) + data + bytes(-len(data) % 512)
    expected += bytes(1024)
    assert (tmp_path / "a.tar").read_bytes() == expected + bytes(-len(expected) % 10240)


def test_what_was_written_can_be_read(model: Path, tmp_path: Path) -> None:
    write_archive(model, tmp_path / "a.tar", name="tiny-1.0.0")
    (tmp_path / "out").mkdir()
    extract(tmp_path / "a.tar", tmp_path / "out", most=LIMIT)
    there = {
        p.relative_to(tmp_path / "out" / "tiny-1.0.0"): p.read_bytes()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    }
    assert there == {p.relative_to(model): p.read_bytes() for p in model.rglob("*") if p.is_file()}


def test_a_damaged_model_is_not_written(model: Path, tmp_path: Path) -> None:
    (model / "tokenizer.json").write_bytes(b"[]")
    with pytest.raises(IntegrityError, match="its bytes differ"):
        write_archive(model, tmp_path / "a.tar", name="tiny")
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(OutputExistsError):
        write_archive(model, tmp_path / "b.tar", name="tiny")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "tiny"]


# -- what strangers make ---------------------------------------------------------------------------------------------

Entry = tuple[str, bytes, bytes]  # name, type, content or target of a link


def tar(path: Path, *entries: Entry, compressed: bool = False) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                entry.linkname = content.decode()
            else:
                entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    path.write_bytes(gzip.compress(buffer.getvalue()) if compressed else buffer.getvalue())
    return path


def a_zip(path: Path, *entries: tuple[str, int, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, mode, content in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, content)
    return path


FILE, LINK, FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE

HOSTILE: dict[str, tuple[list[Entry], str]] = {
    "up": ([("../x", FILE, b"x")], "not a path inside"),
    "up-inside": ([("a/../../x", FILE, b"x")], "not a path inside"),
    "absolute": ([("/tmp/x", FILE, b"x")], "not a path inside"),
    "backslash": ([("a\\..\\x", FILE, b"x")], "not a path inside"),
    "drive": ([("C:x", FILE, b"x")], "not a path inside"),
    "control": ([("a\x01", FILE, b"x")], "not a path inside"),
    "empty": ([("", FILE, b"x")], "not a path inside"),
    "long": ([("x" * 300, FILE, b"x")], "not a path inside"),
    "folder-up": ([("../x", FOLDER, b"")], "not a path inside"),
    "link": ([("x", LINK, b"/etc/passwd")], "is a link"),
    "link-inside": ([("x", LINK, b"y")], "is a link"),
    "hard-link": ([("x", tarfile.LNKTYPE, b"/etc/passwd")], "is a link"),
    "link-then-file": ([("x", LINK, b"/tmp"), ("x/y", FILE, b"x")], "is a link"),
    "device": ([("x", tarfile.CHRTYPE, b"")], "is a link, a device"),
    "block-device": ([("x", tarfile.BLKTYPE, b"")], "is a link, a device"),
    "fifo": ([("x", tarfile.FIFOTYPE, b"")], "is a link, a device"),
    "contiguous": ([("x", tarfile.CONTTYPE, b"x")], "is a link, a device"),
    "twice": ([("x", FILE, b"x"), ("x", FILE, b"y")], "stands there twice"),
    "case": ([("Model", FILE, b"x"), ("model", FILE, b"y")], "stands there twice"),
    "unicode": ([("é", FILE, b"x"), ("é", FILE, b"y")], "stands there twice"),
    "file-in-file": ([("x", FILE, b"x"), ("x/y", FILE, b"y")], "stands there twice"),
    "folder-then-file": ([("x/y", FILE, b"x"), ("X", FILE, b"y")], "stands there twice"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("compressed", [False, True], ids=["tar", "tgz"])
def test_hostile_tar_files(case: str, compressed: bool, tmp_path: Path) -> None:
    entries, words = HOSTILE[case]
    archive = tar(tmp_path / "x.tar", *entries, compressed=compressed)
    refused(archive, tmp_path, ArchiveError, words)


def refused(archive: Path, tmp_path: Path, kind: type[LilimsError], words: str) -> None:
    """It raises, and nothing is written but files inside the target."""
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    with pytest.raises(kind, match=words) as caught:
        extract(archive, target, most=LIMIT)
    assert str(archive) in str(caught.value)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["target"]
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) <= LIMIT


ZIPS: dict[str, tuple[list[tuple[str, int, bytes]], str]] = {
    "up": ([("../x", 0, b"x")], "not a path inside"),
    "absolute": ([("/x", 0, b"x")], "not a path inside"),
    "link": ([("x", stat.S_IFLNK | 0o777, b"/etc/passwd")], "is a link"),
    "device": ([("x", stat.S_IFCHR, b"")], "is a link"),
    "folder-that-is-a-link": ([("x/", stat.S_IFLNK, b"")], "is a link"),
    "case": ([("a/x", 0, b"x"), ("A/x", 0, b"y")], "stands there twice"),
}


@pytest.mark.parametrize("case", ZIPS)
def test_hostile_zip_files(case: str, tmp_path: Path) -> None:
    entries, words = ZIPS[case]
    refused(a_zip(tmp_path / "x.zip", *entries), tmp_path, ArchiveError, words)


BOMBS: dict[str, Callable[[Path], Path]] = {
    "zip": lambda path: a_zip(path, *((f"x{i}", 0, bytes(400_000)) for i in range(4))),
    "tgz": lambda path: tar(path, *((f"x{i}", FILE, bytes(400_000)) for i in range(4)), compressed=True),
    "one-file": lambda path: tar(path, ("x", FILE, bytes(LIMIT + 1)), compressed=True),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs(case: str, tmp_path: Path) -> None:
    archive = BOMBS[case](tmp_path / "x")
    refused(archive, tmp_path, ModelTooLargeError, "unpacks to more than 1.0 MB")


def test_a_header_that_claims_a_huge_size(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("x")
    entry.size = 1 << 40
    (tmp_path / "x.tar").write_bytes(entry.tobuf() + bytes(1024))
    refused(tmp_path / "x.tar", tmp_path, ModelTooLargeError, "unpacks to more than")


def test_an_extended_header_that_claims_a_huge_size(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 1 << 34
    (tmp_path / "x.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    refused(tmp_path / "x.tar", tmp_path, ArchiveError, "a header has 17179869184 bytes")


def test_very_many_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.models.archive import read

    monkeypatch.setattr(read, "_MOST_ENTRIES", 10)
    refused(tar(tmp_path / "x.tar", *((f"x{i}", FOLDER, b"") for i in range(11))), tmp_path, ArchiveError, "10 entries")


def test_every_truncation_and_many_corruptions(tmp_path: Path) -> None:
    """Either it is read as it was, or there is one known error."""
    entries: list[Entry] = [("a/x", FILE, b"x" * 700), ("a/y", FILE, b"")]
    whole = {
        "tar": tar(tmp_path / "a", *entries).read_bytes(),
        "tgz": tar(tmp_path / "b", *entries, compressed=True).read_bytes(),
        "zip": a_zip(tmp_path / "c", ("a/x", 0, b"x" * 700)).read_bytes(),
    }
    for kind, data in whole.items():
        end = min(len(data), 2600)
        damaged = [data[:at] for at in range(0, end, 53)]
        damaged += [data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :] for at in range(0, end, 19)]
        for number, content in enumerate(damaged):
            target = tmp_path / f"{kind}{number}"
            target.mkdir()
            (tmp_path / "x").write_bytes(content)
            with contextlib.suppress(ArchiveError, ModelTooLargeError):
                extract(tmp_path / "x", target, most=LIMIT)
            assert not any(path.is_symlink() for path in target.rglob("*"))


@pytest.mark.parametrize("content", [b"hello", b"\x1f\x8b", b"PK\x03\x04", b"", b"\x01" * 10240], ids=len)
def test_what_is_no_archive(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    refused(tmp_path / "x", tmp_path, ArchiveError, "is damaged, or no archive")


def test_a_zip_file_whose_entry_lies_before_its_beginning(tmp_path: Path) -> None:
    raw = bytearray(a_zip(tmp_path / "x.zip", ("a/x", 0, b"x")).read_bytes())
    end = raw.rindex(b"PK\5\6")
    at = end + 16  # where the directory begins, counted from the archive's first byte: zipfile corrects all by this
    raw[at : at + 4] = (int.from_bytes(raw[at : at + 4], "little") + 5).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(raw)
    refused(tmp_path / "x.zip", tmp_path, ArchiveError, "is damaged, or no archive")
