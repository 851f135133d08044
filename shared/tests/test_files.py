"""Files are old or new, never half-written: also when the writer is killed."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from lilims.core import files
from lilims.core.errors import CheckpointError, InputError, OutputExistsError, StorageError
from lilims.core.files import (
    directory_size,
    new_directory,
    read_bytes,
    read_json,
    scratch_directory,
    sha256_file,
    write_atomic,
    write_json,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and links as on POSIX")


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


# -- hashes and sizes ------------------------------------------------------------------------------------------------


def test_sha256_of_more_than_one_block(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(data).hexdigest()


@posix
def test_directory_size_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"x" * 10)
    (tmp_path / "a" / "b" / "two").write_bytes(b"x" * 5)
    (tmp_path / "big").write_bytes(b"x" * 1000)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "big")
    assert directory_size(tmp_path / "a") == 15


# -- JSON ------------------------------------------------------------------------------------------------------------

BAD_JSON = {
    "syntax": (b'{"a": ', "not valid JSON"),
    "not-utf8": (b'{"a": "\xff"}', "not valid JSON"),
    "duplicate-key": (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
    "duplicate-key-inside": (b'{"x": [{"k": 1, "k": 1}]}', "the key 'k' stands twice"),
    "deep": (b"[" * 19_999, "not valid JSON"),
    "long-number": (b"1" * 10_000, "not valid JSON"),
    "too-large": (b" " * 20_000 + b"1", "larger than 20000 bytes"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json(case: str, tmp_path: Path) -> None:
    data, words = BAD_JSON[case]
    path = tmp_path / "config.json"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        read_json(path, limit=20_000, error=CheckpointError)
    assert words in str(caught.value)
    assert caught.value.where == str(path)


def test_json_with_many_keys_is_read_in_linear_time(tmp_path: Path) -> None:
    pairs = ", ".join(f'"{i}": 0' for i in range(200_000))
    (tmp_path / "x.json").write_text(f'{{{pairs}, "199999": 0}}')
    with pytest.raises(InputError, match="'199999' stands twice"):
        read_json(tmp_path / "x.json")


def test_no_more_memory_is_asked_for_than_the_file_has(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"abc")
    tracemalloc.start()
    assert read_bytes(tmp_path / "small", limit=1 << 30) == b"abc"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 18  # file.read(1 << 30) would ask for a gigabyte
    assert read_bytes(tmp_path / "small", limit=3) == b"abc"
    with pytest.raises(InputError, match="larger than 2 bytes"):
        read_bytes(tmp_path / "small", limit=2)
    with pytest.raises(InputError, match="cannot be read: embedded null byte"):
        read_bytes(tmp_path / "a\0b", limit=2)


def test_absent_json_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "absent.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def test_json_survives_a_round_trip(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": "µ – ✓"}
    write_json(tmp_path / "x.json", value)
    assert (tmp_path / "x.json").read_bytes().endswith(b"}\n")
    assert list(read_json(tmp_path / "x.json")) == ["b", "a"]
    assert read_json(tmp_path / "x.json") == value
    (tmp_path / "bom.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "bom.json") == {"a": 1}


# -- one file --------------------------------------------------------------------------------------------------------


def test_write_atomic_replaces(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert leftovers(tmp_path) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_atomic(path, b"old")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        write_atomic(path, b"new")
    assert caught.value.hint is not None
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_write_into_a_folder_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_atomic(tmp_path / "absent" / "x", b"")


# -- one folder ------------------------------------------------------------------------------------------------------


def test_new_directory(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with new_directory(target) as folder:
        assert not target.exists()
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("x")
    assert (target / "sub" / "file").read_text() == "x"
    assert leftovers(target.parent) == []


def test_new_directory_vanishes_on_error(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "file").write_text("x")
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"), new_directory(tmp_path / "model") as folder:
        fails(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_new_directory_leaves_what_came_meanwhile(what: str, tmp_path: Path) -> None:
    target = tmp_path / "model"

    def come() -> None:
        if what == "folder":
            with new_directory(target) as other:
                (other / "a").write_text("another's")
        elif what == "file":
            target.write_text("another's")
        else:
            target.symlink_to(tmp_path / "nowhere")

    with pytest.raises(OutputExistsError, match="exists already"), new_directory(target):
        come()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert what == "link" or (target / "a" if what == "folder" else target).read_text() == "another's"


def test_new_directory_takes_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with new_directory(tmp_path / "model") as folder:
        (folder / "a").write_text("1")
    assert (tmp_path / "model" / "a").read_text() == "1"


def test_new_directory_refuses_what_exists(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "mine").write_text("x")
    with pytest.raises(OutputExistsError) as caught, new_directory(target):
        pytest.fail("entered")
    assert "--force" in (caught.value.hint or "")
    assert (target / "mine").read_text() == "x"


def test_an_empty_folder_is_a_target(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with new_directory(tmp_path / "model") as folder:
        (folder / "file").write_text("x")
    assert (tmp_path / "model" / "file").read_text() == "x"


def test_force_replaces_the_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with new_directory(target) as folder:
        (folder / "old").write_text("x")
    with new_directory(target, force=True) as folder:
        (folder / "new").write_text("x")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert leftovers(tmp_path) == []


def test_force_and_an_error_keep_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with new_directory(target) as folder:
        (folder / "old").write_text("x")
    with pytest.raises(RuntimeError), new_directory(target, force=True):
        raise RuntimeError
    assert (target / "old").is_file()
    assert leftovers(tmp_path) == []


@posix
def test_read_only_files_and_odd_names(tmp_path: Path) -> None:
    target = tmp_path / "model[1]*"
    for _ in range(2):
        with new_directory(target, force=True) as folder:
            (folder / "file").write_text("x")
            (folder / "file").chmod(0o444)
    assert (target / "file").read_text() == "x"
    assert leftovers(tmp_path) == []


@posix
def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("x")
    target = tmp_path / "model"
    target.symlink_to(tmp_path / "theirs")
    with pytest.raises(OutputExistsError), new_directory(target):
        pytest.fail("entered")
    with new_directory(target, force=True) as folder:
        (folder / "new").write_text("x")
    assert not target.is_symlink()
    assert (tmp_path / "theirs" / "file").is_file()
    assert leftovers(tmp_path) == []


def test_the_current_folder_and_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputExistsError), new_directory(Path(".")):
        pytest.fail("entered")
    with pytest.raises(StorageError, match="root"), new_directory(Path(Path.cwd().anchor)):
        pytest.fail("entered")


# -- killed ----------------------------------------------------------------------------------------------------------

KILLED_WHILE_WRITING = """
import sys
import tracemalloc
from pathlib import Path
from lilims.core.files import new_directory
with new_directory(Path(sys.argv[1]), force=True) as folder:
    (folder / "half").write_text("x")
    print("ready", flush=True)
    sys.stdin.read()
"""

KILLED_BETWEEN_THE_RENAMES = """
import os, sys
from pathlib import Path
from lilims.core import files
from lilims.core.files import new_directory
files._exchange = lambda first, second: False
rename, calls = os.rename, []
def second_time_never(source, target):
    if calls:
        print("ready", flush=True)
        sys.stdin.read()
    calls.append(source)
    rename(source, target)
os.rename = second_time_never
with new_directory(Path(sys.argv[1]), force=True) as folder:
    (folder / "new").write_text("x")
"""


def killed(script: str, target: Path) -> None:
    """Runs the script until it says that it is ready, then kills it as a power cut would."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()


@posix
@pytest.mark.parametrize("script", [KILLED_WHILE_WRITING, KILLED_BETWEEN_THE_RENAMES], ids=["writing", "renaming"])
def test_a_killed_writer_leaves_the_old_folder(script: str, tmp_path: Path) -> None:
    target = tmp_path / "model"
    with new_directory(target) as folder:
        (folder / "old").write_text("x")
    killed(script, target)
    files.remove_stale(target)
    assert [path.name for path in target.iterdir()] == ["old"]
    assert leftovers(tmp_path) == []


@posix
def test_a_killed_first_writer_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    target = tmp_path / "model"
    killed(KILLED_WHILE_WRITING, target)
    assert not target.exists()
    with new_directory(target) as folder:
        (folder / "new").write_text("x")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert leftovers(tmp_path) == []


KILLED_AFTER_THE_EXCHANGE = """
import sys
import tracemalloc
from pathlib import Path
from lilims.core import files
def removed_never(path):
    print("ready", flush=True)
    sys.stdin.read()
files._remove = removed_never
with files.new_directory(Path(sys.argv[1]), force=True) as folder:
    (folder / "new").write_text("x")
"""


@posix
@pytest.mark.parametrize("old", ["folder", "file", "link"])
def test_a_writer_killed_after_the_exchange_leaves_the_new_folder(old: str, tmp_path: Path) -> None:
    target = tmp_path / "model"
    if old == "folder":
        target.mkdir()
        (target / "old").write_text("x")
    elif old == "file":
        target.write_text("old")
    else:
        target.symlink_to(tmp_path)
    killed(KILLED_AFTER_THE_EXCHANGE, target)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert len(leftovers(tmp_path)) == 1
    files.remove_stale(target)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert leftovers(tmp_path) == []


@posix
def test_force_without_an_exchange_renames_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    for name in ("old", "new"):
        with new_directory(tmp_path / "model", force=True) as folder:
            (folder / name).write_text("x")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]
    assert leftovers(tmp_path) == []


@posix
def test_force_is_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who looks finds neither the old folder nor the new one."""

    def rename(source: Path, target: Path) -> None:
        pytest.fail(f"{source} was renamed")

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("x")
    monkeypatch.setattr(os, "rename", rename)
    with new_directory(tmp_path / "model", force=True) as folder:
        (folder / "new").write_text("x")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]
    assert leftovers(tmp_path) == []


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with new_directory(target) as mine:
        files.remove_stale(target)
        (mine / "file").write_text("x")
    assert (target / "file").is_file()


def test_a_scratch_directory_goes_and_takes_leftovers_along(tmp_path: Path) -> None:
    left = tmp_path / "a" / ".work.new-0123"
    left.mkdir(parents=True)
    with scratch_directory(tmp_path / "a", "work") as first, scratch_directory(tmp_path / "a", "work") as second:
        (first / "file").write_text("x")
        assert first != second and first.is_dir() and second.is_dir()
        assert not left.exists() or sys.platform == "win32"
    assert [path for path in (tmp_path / "a").iterdir() if path != left] == []
