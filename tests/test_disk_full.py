"""A full disk in the middle of a conversion: one line that says so, and nothing left of it.

Two ways to fill it: a tiny tmpfs, where this user may mount one, and a limit on the size of a file (RLIMIT_FSIZE),
which no measuring of free space foresees.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lilims.core import cli
from lilims.core.console import console
from lilims.core.settings import settings

from .bad_input import checkpoints

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")
SAYS = ("…: the disk has … free, the model takes …", "…: the disk is full", "…: cannot be written: …")
WEIGHTS = Path("model.mlpackage/Data/com.apple.CoreML/weights/weight.bin")
SPEC = Path("model.mlpackage/Data/com.apple.CoreML/model.mlmodel")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LILIMS_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield
    settings.cache_clear()
    console.json = console.quiet = False


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return checkpoints.write(tmp_path / "source")


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, int]:
    """Bytes of the weights and of the specification."""
    from lilims.conversion import convert

    folder = tmp_path_factory.mktemp("whole")
    made = convert(checkpoints.write(folder / "source"), folder / "out").folder
    return (made / WEIGHTS).stat().st_size, (made / SPEC).stat().st_size


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("force", [False, True], ids=["fresh", "force"])
@pytest.mark.parametrize("missing", ["all of the weights", "one byte of the weights", "the end of the specification"])
def test_no_room_for_a_file(
    source: Path, tmp_path: Path, sizes: tuple[int, int], capsys: pytest.CaptureFixture[str], missing: str, force: bool
) -> None:
    weights, spec = sizes
    assert weights < spec - 1
    limit = {"all of the weights": 0, "one byte of the weights": weights - 1}.get(missing, spec - 1)
    out = tmp_path / "results" / "out"
    if force:
        out.mkdir(parents=True)
        (out / "manifest.json").write_text("the old one")
    with file_size_limit(limit):
        code = cli.run(["convert", str(source), "-o", str(out), *(["--force"] if force else [])])
    lines = capsys.readouterr().err.splitlines()
    assert code == 1
    assert lines[0] == f"error: {out}: cannot be written: File too large"
    assert lines[1] == "hint:  check the path and its permissions"
    assert len(lines) == 2
    left = [p for p in out.parent.rglob("*") if p.is_file()]
    assert left == ([out / "manifest.json"] if force else [])
    assert not [p for p in out.parent.iterdir() if p.name != "out"]


@pytest.fixture
def tiny_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A tmpfs of so many KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "lilims-test", folder], capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(tiny_disk: Path, capsys: pytest.CaptureFixture[str], source: Path) -> list[str]:
    """Converts onto the tiny disk; what is said. Nothing may be left there."""
    code = cli.run(["convert", str(source), "-o", str(tiny_disk / "out")])
    lines = capsys.readouterr().err.splitlines()
    assert code == 1
    assert lines[1:] == ["hint:  free some space or choose another place with -o"]
    assert list(tiny_disk.iterdir()) == []
    return lines


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
@pytest.mark.parametrize("tiny_disk", [4, 32, 96], indirect=True, ids=lambda size: f"{size} KiB")
def test_too_small_a_disk(source: Path, tiny_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is measured before anything is written."""
    said = fill(tiny_disk, capsys, source)[0]
    assert re.fullmatch(r"error: .*/disk/out: the disk has \S+ \S+ free, the model takes \S+ kB", said), said


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
@pytest.mark.parametrize("tiny_disk", [4, 32, 96], indirect=True, ids=lambda size: f"{size} KiB")
def test_a_disk_that_fills_up(
    source: Path, tiny_disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for a folder, for the weights, for the specification: others have written meanwhile."""
    monkeypatch.setattr("lilims.conversion.pipeline.check_space", lambda _out, _needed: None)
    said = fill(tiny_disk, capsys, source)[0]
    assert re.fullmatch(r"error: .*/disk/out: the disk is full", said), said
