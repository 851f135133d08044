"""One process at a time holds a lock; a killed one lets go of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lilims.core.locks import exclusive

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
