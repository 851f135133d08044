"""Real processes: many that write at once, and one that is killed."""

from __future__ import annotations

import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from lilims.telemetry import Store, database

from .helpers import finish, start, wait_for

WRITER = """
import sys
from lilims.core.events import emit
from lilims.telemetry import listen
listening = listen()
for n in range(int(sys.argv[1])):
    emit("generate.done", operation="chat", prompt_tokens=n, generated_tokens=int(sys.argv[2]))
listening.stop()
"""
ENDLESS = """
import time
from lilims.core.events import emit
from lilims.telemetry import listen
listening = listen()
n = 0
while True:
    n += 1
    emit("generate.done", operation="chat", prompt_tokens=n)
    time.sleep(0.0005)
"""


def integrity() -> str:
    with sqlite3.connect(database()) as connection:
        (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return str(found)


def test_processes_that_begin_at_once_lose_nothing(home: Path) -> None:
    processes = [start(WRITER, "300", str(number)) for number in range(4)]
    ends = [finish(process) for process in processes]
    assert [(code, err) for code, _, err in ends] == [(0, "")] * 4
    with Store.open() as store:
        found = {(r.attributes["gen_ai.usage.output_tokens"], r.attributes["gen_ai.usage.input_tokens"])
                 for r in store.records()}  # fmt: skip
    assert found == {(number, n) for number in range(4) for n in range(300)}
    assert integrity() == "ok"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_kill_9_leaves_a_whole_file(home: Path) -> None:
    def count() -> int:
        store = Store.open_if_present()
        if store is None:
            return 0
        with store:
            return store.count()

    before = 0
    for _ in range(4):
        process = start(ENDLESS)
        wait_for(lambda more=before: count() > more)
        process.send_signal(signal.SIGKILL)
        finish(process)
        assert integrity() == "ok"
        after = count()
        assert after > before, "what had been written stays"
        before = after
    with Store.open() as store:
        assert all(record.attributes["gen_ai.operation.name"] == "chat" for record in store.records())
