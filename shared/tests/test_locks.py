"""One process at a time holds a lock; a killed one lets go of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lilims.core import locks
from lilims.core.locks import attempt, exclusive, wait

HOLDER = """
import sys
from pathlib import Path
from lilims.core.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_waits_until_the_first_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waited = []

        def kill() -> None:
            waited.append(True)
            holder.kill()

        with exclusive(path, waiting=kill):
            assert waited == [True]


def test_a_free_lock_is_taken_at_once_and_again(tmp_path: Path) -> None:
    waited: list[bool] = []
    for _ in range(2):
        with exclusive(tmp_path / "lock", waiting=lambda: waited.append(True)):
            pass
    assert waited == []


def test_many_share_a_lock_and_one_has_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = attempt(path, shared=True), attempt(path, shared=True)
    assert first is not None and second is not None
    assert attempt(path) is None
    first.release()
    assert attempt(path) is None
    second.release()
    with wait(path):
        assert attempt(path, shared=True) is None
    assert attempt(path) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_lock_whose_file_was_removed_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = attempt(path)
    assert holder is not None
    waiter = os.open(path, os.O_RDWR)  # opened before it is removed, locked behind it
    holder.remove()
    assert not path.exists()
    new = attempt(path)
    assert new is not None and not locks._is(path, waiter)
    os.close(waiter)
    new.release()
