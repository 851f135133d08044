"""An interrupted conversion goes on where it was, and only where everything is as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion import convert
from lilims.conversion.weights.resume import discard, partial
from lilims.core.errors import QuantizationError, StorageError
from lilims.core.events import Event, listening

from .test_convert import rewrite

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")
STOPS = 9  # tensors that are written before an interruption


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(checkpoint_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an uninterrupted conversion makes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    convert(checkpoint_of("llama"), out, name="m")
    return contents(out)


class Stop(BaseException):
    """Ends a conversion from inside, as Ctrl-C does."""


def interrupted(source: Path, out: Path, **options: Any) -> None:
    """Converts with --resume until some tensors are written."""
    from lilims.conversion import writing

    pieces = writing.pieces

    def some(*arguments: Any, **keywords: Any) -> Any:
        for made in pieces(*arguments, **keywords):
            if len(seen | {made.tensor.role}) > STOPS + 1:  # a tensor ends where the next begins
                raise Stop
            seen.add(made.tensor.role)
            yield made

    seen: set[str] = set()
    writing.pieces = some  # type: ignore[assignment]
    try:
        with pytest.raises(Stop):
            convert(source, out, resume=True, jobs=1, name="m", **options)
    finally:
        writing.pieces = pieces


def resumed(source: Path, out: Path, **options: Any) -> int:
    """Converts with --resume; how many tensors were there already."""
    heard: list[Event] = []
    with listening(heard.append):
        convert(source, out, **{"resume": True, "name": "m", **options})
    assert [p.name for p in out.parent.iterdir() if p.name.startswith(f".{out.name}")] == []
    return sum(e.fields["done"] for e in heard if e.name == "convert.resumed")


def work(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial")


def test_it_goes_on_and_the_bytes_are_the_same(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    interrupted(checkpoint_of("llama"), out)
    assert not out.exists()
    assert resumed(checkpoint_of("llama"), out) == STOPS
    assert contents(out) == whole


def half_a_tensor(folder: Path) -> None:
    with (folder / "weight.bin").open("ab") as file:
        file.write(b"half of it")


def half_a_line(folder: Path) -> None:
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"role": "layers.1')


def last_tensor_lost(folder: Path) -> None:
    end = json.loads((folder / "journal.jsonl").read_text().splitlines()[-2])["mark"]["end"]
    os.truncate(folder / "weight.bin", end + 8)


def flipped_bit(folder: Path) -> None:
    """In the third tensor: the two before it are as they were."""
    entry = json.loads((folder / "journal.jsonl").read_text().splitlines()[3])
    with (folder / "weight.bin").open("rb+") as file:
        file.seek(entry["mark"]["end"] - 1)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([last ^ 1]))


def flipped_line(folder: Path) -> None:
    """In what the third line says of its tensor, which is no less JSON for it."""
    lines = (folder / "journal.jsonl").read_bytes().split(b"\n")
    changed = lines[3].replace(b'"parts": {"', b'"parts": {"d')
    assert changed != lines[3]
    (folder / "journal.jsonl").write_bytes(b"\n".join([*lines[:3], changed, *lines[4:]]))


def nonsense(folder: Path) -> None:
    (folder / "journal.jsonl").write_bytes(b"\xff\n[]\n")


def no_weights(folder: Path) -> None:
    (folder / "weight.bin").unlink()


DAMAGE: dict[str, tuple[Callable[[Path], None], int]] = {
    "half a tensor": (half_a_tensor, STOPS),
    "half a line": (half_a_line, STOPS),
    "last tensor lost": (last_tensor_lost, STOPS - 1),
    "flipped bit": (flipped_bit, 2),
    "flipped line": (flipped_line, 2),
    "nonsense": (nonsense, 0),
    "no weights": (no_weights, 0),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_is_written_again(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, whole: dict[str, bytes], name: str
) -> None:
    damage, left = DAMAGE[name]
    out = tmp_path / "out"
    interrupted(checkpoint_of("llama"), out)
    damage(work(out))
    assert resumed(checkpoint_of("llama"), out) == left
    assert contents(out) == whole


def test_other_options_begin_anew(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    interrupted(checkpoint_of("llama"), out, quantize="int8")
    assert resumed(checkpoint_of("llama"), out) == 0
    assert contents(out) == whole


def test_another_source_of_the_same_shapes_begins_anew(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    source, out = Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "source")), tmp_path / "out"
    interrupted(source, out)

    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.norm.weight"][0] += 1

    rewrite(source, change)
    assert resumed(source, out) == 0


def test_another_version_begins_anew(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    interrupted(checkpoint_of("llama"), out)
    monkeypatch.setattr("lilims.conversion.pipeline.version", lambda: "9.9.9")
    assert resumed(checkpoint_of("llama"), out) == 0


def test_without_resume_nothing_is_kept_and_what_was_is_thrown_away(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    interrupted(checkpoint_of("llama"), out)
    assert resumed(checkpoint_of("llama"), out, resume=False) == 0
    assert contents(out) == whole


def test_a_failure_before_the_first_tensor_keeps_nothing(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    source = Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "source"))
    rewrite(source, lambda tensors: tensors["model.embed_tokens.weight"].__setitem__((0, 0), 1e30))
    with pytest.raises(QuantizationError):
        convert(source, tmp_path / "out", resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_two_at_once_are_refused(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with partial(out, "another"):
        with pytest.raises(StorageError, match="another conversion with --resume is at work there"):
            convert(checkpoint_of("llama"), out, resume=True)
        discard(out)
        assert work(out).is_dir()
    assert not work(out).exists()


KILLED = """
import os, signal, sys
from lilims.core.events import subscribe
from lilims.conversion import convert
def die(event):
    if event.name == "convert.tensor" and event.fields["done"] == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
subscribe(die)
convert(sys.argv[1], sys.argv[2], resume=True, name="m")
"""


def test_killed_and_gone_on(checkpoint_of: Callable[[str], Path], tmp_path: Path, whole: dict[str, bytes]) -> None:
    """Killed as a tensor is done but its line not yet written: that one is written again."""
    out = tmp_path / "out"
    arguments = [sys.executable, "-W", "ignore", "-c", KILLED, str(checkpoint_of("llama")), str(out), "6"]
    assert subprocess.run(arguments).returncode == -signal.SIGKILL
    assert not out.exists()
    assert resumed(checkpoint_of("llama"), out) == 5
    assert contents(out) == whole
