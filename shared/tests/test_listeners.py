"""Listeners of a command: started only where they are switched on, told of errors and the end, never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from lilims.core import cli, listeners, privacy
from lilims.core.errors import ManifestError
from lilims.core.events import emit, is_heard, listening


class Listener:
    """Notes what it is told."""

    def __init__(self, told: list[Any], fails: bool = False) -> None:
        self.told, self.fails = told, fails

    def crashed(self, error: BaseException) -> None:
        self.told.append(type(error).__name__)
        assert not self.fails

    def stop(self) -> None:
        self.told.append("stop")
        assert not self.fails


class Entry:
    def __init__(self, name: str, loaded: Any) -> None:
        self.name, self.value, self.module, self._loaded = name, name, "lilims.absent.module", loaded

    def load(self) -> Any:
        return self._loaded


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a listener is told while commands `good`, `bad` and `worse` run; others fail at each step."""
    told: list[Any] = []
    monkeypatch.setattr(privacy, "_ours", set())
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)

    def fine(command: str) -> Listener:
        told.append(command)
        return Listener(told)

    def cannot_start(command: str) -> Listener:
        raise RuntimeError("no")

    groups = {
        listeners.GROUP: [Entry("broken", cannot_start), Entry("fine", fine),
                          Entry("sulky", lambda command: Listener([], fails=True))],
        cli.GROUP: [
            Entry("good", cli.command("good")(lambda: None)),
            Entry("bad", cli.command("bad")(lambda: _raise(ManifestError("is damaged")))),
            Entry("worse", cli.command("worse")(lambda: _raise(KeyError("x")))),
            Entry("stopped", cli.command("stopped")(lambda: _raise(click.Abort()))),
        ],
    }  # fmt: skip
    monkeypatch.setattr(cli, "entry_points", lambda group: groups[group])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: groups[group])
    return told


def _raise(error: Exception) -> None:
    raise error


def switch_on() -> None:
    listeners.switch().parent.mkdir(parents=True)
    listeners.switch().touch()


COMMANDS = {
    "good": (0, ["good", "stop"]),
    "bad": (1, ["bad", "stop"]),
    "worse": (1, ["worse", "KeyError", "stop"]),
    "stopped": (130, ["stopped", "stop"]),
    "absent": (2, []),
    "--help": (0, []),
    "--version": (0, []),
}


@pytest.mark.parametrize(("command", "wanted"), COMMANDS.items(), ids=COMMANDS)
def test_a_listener_hears_a_command(command: str, wanted: tuple[int, list[str]], told: list[Any]) -> None:
    switch_on()
    assert (cli.run([command]), told) == wanted


def test_nobody_is_started_where_it_is_off(told: list[Any]) -> None:
    assert cli.run(["good"]) == 0
    assert told == []


def test_do_not_track_is_the_users_and_not_our_own(told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    switch_on()
    cli.run(["good"])
    cli.run(["good"])  # the first has set DO_NOT_TRACK=1 for libraries
    assert told == ["good", "stop"] * 2
    monkeypatch.setattr(privacy, "_ours", set())
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    cli.run(["good"])
    assert len(told) == 4


def test_a_wrong_config_file_breaks_no_help(told: list[Any], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("nonsense = 1")
    assert cli.run(["good", "--help"]) == 0


def test_failures_are_events(told: list[Any]) -> None:
    heard: list[Any] = []
    with listening(heard.append):
        cli.run(["bad"])
        cli.run(["worse"])
    assert [(event.name, event.fields) for event in heard] == [
        ("command.failed", {"error_type": "ManifestError"}),
        ("command.failed", {"error_type": "KeyError"}),
    ]


def test_whether_anybody_listens() -> None:
    assert not is_heard()
    with listening(lambda event: None):
        assert is_heard()
    assert not is_heard()
    emit("nobody.hears")
