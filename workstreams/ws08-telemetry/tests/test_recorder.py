"""Recording: beside the work, never in its way."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

import pytest

from lilims.core.events import emit, is_heard
from lilims.telemetry import Store, database, listen
from lilims.telemetry.recorder import Recorder

from .helpers import done, wait_for


def recorded() -> list[str]:
    store = Store.open_if_present()
    if store is None:
        return []
    with store:
        return [record.name for record in store.records()]


def test_what_is_emitted_is_in_the_file_when_it_stops(home: Path) -> None:
    listening = listen()
    for _ in range(5):
        emit("generate.done", **done())
    emit("convert.tensor", name="not kept")
    listening.stop()
    assert recorded() == ["generate.done"] * 5
    emit("generate.done", **done())
    assert not is_heard()
    assert len(recorded()) == 5


def test_records_are_written_while_the_work_goes_on(home: Path) -> None:
    recorder = Recorder()
    emit("generate.done", **done())
    wait_for(recorded)
    emit("generate.done", **done())
    wait_for(lambda: len(recorded()) == 2)
    recorder.stop()


def test_who_emits_nothing_pays_nothing(home: Path) -> None:
    before = threading.active_count()
    recorder = Recorder()
    emit("convert.tensor", name="not kept")
    assert threading.active_count() == before
    recorder.stop()
    assert not database().parent.exists()


def test_a_file_that_cannot_be_written_disturbs_nobody(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    logger = logging.getLogger("lilims.telemetry")
    monkeypatch.setattr(logger, "warning", lambda text, *of: said.append(text % of))
    home.mkdir()
    (home / "telemetry").write_text("a file where the folder should be")
    recorder = Recorder()
    for _ in range(3):
        emit("generate.done", **done())
    recorder.stop()
    assert len(said) == 1, "once, not with every record"
    assert said[0].startswith("records nothing: ")


@pytest.mark.skipif(not hasattr(os, "fork") or sys.version_info >= (3, 12), reason="no fork beside threads")
def test_a_fork_records_for_itself_and_not_twice(home: Path) -> None:
    recorder = Recorder()
    emit("generate.done", **done())
    child = os.fork()
    if child == 0:
        emit("executor.lost")
        recorder.stop()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    recorder.stop()
    assert sorted(recorded()) == ["executor.lost", "generate.done"]
