"""Who uses an installed model, seen from other processes; the time of its last use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lilims.core import usage
from lilims.core.errors import ModelNotFoundError

USER = """
import sys
from pathlib import Path
from lilims.core.usage import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def user(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def folder(home: Path) -> Path:
    made = home / "models" / "tiny@1.0.0"
    made.mkdir(parents=True)
    return made


def test_a_used_model_cannot_be_reserved_until_its_user_was_killed(folder: Path) -> None:
    with user(folder) as process:
        assert usage.reserve(folder) is None
        release = usage.hold(folder)  # any number may use it
        process.kill()
        process.wait()
        assert usage.reserve(folder) is None
        release()
        release()
        found = usage.reserve(folder)
        assert found is not None
        found.release()


def test_the_time_of_the_last_use(folder: Path) -> None:
    assert usage.last_used(folder) is None
    usage.hold(folder)()
    first = usage.last_used(folder)
    assert first is not None
    os.utime(folder.parents[1] / "state" / "used" / folder.name, (5, 5))
    assert usage.last_used(folder) == 5
    usage.touch(folder)
    assert (usage.last_used(folder) or 0) >= first - 1


def test_a_model_that_was_removed_between_being_found_and_held(folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(ModelNotFoundError, match="was removed just now"):
        usage.hold(folder)
    lock = usage.reserve(folder)
    assert lock is not None  # the failed user has let go
    lock.release()


def test_other_folders_are_not_noted(home: Path, tmp_path: Path) -> None:
    usage.hold(tmp_path)()
    assert usage.last_used(tmp_path) is None
    assert not (home / "state").exists()


def test_a_home_that_is_a_file(folder: Path) -> None:
    (folder.parents[1] / "state").write_text("")
    usage.hold(folder)()
    usage.touch(folder)
    assert usage.last_used(folder) is None
