"""`lilims telemetry`: off until it is on, and what each subcommand says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lilims.core import cli, listeners, privacy
from lilims.core.errors import LilimsError
from lilims.core.events import is_heard
from lilims.telemetry import Store, database, keep
from lilims.telemetry.commands.telemetry import command

from .helpers import MODEL, done


class Entry:
    """An entry point that needs no installed distribution."""

    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.value, self.module = name, name, "lilims.telemetry.commands.telemetry"
        self._loaded = loaded

    def load(self) -> object:
        return self._loaded


@pytest.fixture(autouse=True)
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.telemetry.listener import start

    groups = {"lilims.commands": [Entry("telemetry", command)], listeners.GROUP: [Entry("telemetry", start)]}
    monkeypatch.setattr(cli, "entry_points", lambda group: groups[group])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: groups[group])


def lilims(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert cli.run(["telemetry", *arguments]) == code
    return capsys.readouterr().out


def result(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    found = json.loads(lilims(capsys, *arguments, "--json", code=code))
    assert found["schema_version"] == 1
    return dict(found)


def fill(count: int = 3) -> None:
    now = time.time()
    with Store.open() as store:
        rows = [(now + n, "generate.done", keep("generate.done", done()) or {}) for n in range(count)]
        store.add([*rows, (now, "command.failed", {"error.type": "UsageError"})], {"service.name": "lilims"})


def test_off_until_it_is_on(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    status = result(capsys, "status")
    assert (status["on"], status["switched_on"], status["records"]) == (False, False, 0)
    assert not home.joinpath("telemetry").exists()
    assert result(capsys, "on")["on"]
    assert listeners.is_on()
    assert result(capsys, "status")["on"]
    assert not result(capsys, "off")["on"]
    assert not listeners.is_on()


def test_on_says_everything_that_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    out = lilims(capsys, "on")
    for name in keep("generate.done", done()) or {}:
        assert name in out
    assert "Nothing is sent" in out
    assert set(result(capsys, "status")["kept"]["generate.done"]) == set(keep("generate.done", done()) or {})


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_do_not_track_wins(value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", value)
    found = result(capsys, "on")
    assert (found["on"], found["switched_on"]) == (False, True)
    assert "DO_NOT_TRACK is set" in lilims(capsys, "status")
    listeners.start("run")
    assert not is_heard()


def test_what_lilims_sets_for_libraries_is_not_the_users_wish(capsys: pytest.CaptureFixture[str]) -> None:
    lilims(capsys, "on")  # every command sets DO_NOT_TRACK=1
    assert not privacy.do_not_track()
    listeners.start("run")
    assert is_heard()


def test_a_setting_switches_off_for_one_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilims.core.settings import settings

    lilims(capsys, "on")
    monkeypatch.setenv("LILIMS_TELEMETRY", "0")
    settings.cache_clear()
    assert not result(capsys, "status")["on"]


def test_the_command_itself_makes_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    lilims(capsys, "on")
    lilims(capsys, "crashes", "99", code=1)
    assert not database().exists()


def test_show_sums_up_and_counts_errors(capsys: pytest.CaptureFixture[str]) -> None:
    fill()
    found = result(capsys, "show")
    (model,) = found["models"]
    assert (model["model"], model["generations"], model["input_tokens"], model["speed"]) == (MODEL, 3, 36, 20.0)
    assert found["errors"] == {"UsageError": 1}
    assert len(found["records"]) == 4
    out = lilims(capsys, "show")
    assert MODEL[:12] in out and "1 × UsageError" in out
    assert len(result(capsys, "show", "--last", "2")["records"]) == 2


def test_show_draws_both_plots(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fill()
    out = lilims(capsys, "show", "--plot", "--png", str(tmp_path / "a.png"))
    assert "tokens/s" in out and "time to first token, ms" in out and out.count("•") >= 4
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_recorded_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "Nothing was recorded" in lilims(capsys, "show", "--plot")
    lilims(capsys, "show", "--png", str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert result(capsys, "crashes")["crashes"] == []


def test_export_writes_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fill()
    target = tmp_path / "traces.jsonl"
    assert result(capsys, "export", str(target))["lines"] == 1
    assert json.loads(target.read_text("utf-8"))["resourceSpans"]
    before = target.read_bytes()
    assert result(capsys, "export", str(target), code=1)["error"]["type"] == "OutputExistsError"
    assert target.read_bytes() == before
    assert result(capsys, "export", str(target), "--force", "--signal", "metrics")["lines"] == 1
    assert json.loads(target.read_text("utf-8"))["resourceMetrics"]


def test_crashes_are_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open() as store:
        store.add_crash("### first\n\n- error: KeyError\n")
        store.add_crash("### second\n\n- fatal: Aborted\n")
    listed = lilims(capsys, "crashes")
    assert "error: KeyError" in listed and "fatal: Aborted" in listed
    assert lilims(capsys, "crashes", "latest") == "### second\n\n- fatal: Aborted\n"
    assert lilims(capsys, "crashes", "1").startswith("### first")
    assert result(capsys, "crashes", "7", code=1)["error"]["type"] == "InputError"
    assert result(capsys, "crashes", "seven", code=2)["error"]["type"] == "UsageError"


def test_erase_asks_first(capsys: pytest.CaptureFixture[str]) -> None:
    fill()
    assert "4 records and 0 crash reports would be removed" in lilims(capsys, "erase", "--dry-run")
    assert result(capsys, "erase", code=2)["error"]["type"] == "UsageError"
    assert result(capsys, "status")["records"] == 4
    assert "Removed 4 records" in lilims(capsys, "erase", "--yes")
    assert result(capsys, "status")["records"] == 0
    assert MODEL.encode() not in database().read_bytes()


def test_erase_helps_where_the_file_is_damaged(capsys: pytest.CaptureFixture[str]) -> None:
    database().parent.mkdir(parents=True)
    database().write_bytes(b"nonsense" * 1000)
    assert result(capsys, "show", code=1)["error"]["type"] == "StorageError"
    assert "is damaged" in result(capsys, "status")["problem"]
    lilims(capsys, "erase", "--yes")
    assert result(capsys, "show")["records"] == []


@pytest.mark.parametrize("value", ["7", "d", "7y", "-1d"])
def test_a_time_that_is_none_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    lilims(capsys, "show", f"--since={value}", code=2)


@pytest.mark.parametrize("name", ["status", "on", "off", "show", "export", "erase", "crashes"])
def test_every_subcommand_has_help(name: str) -> None:
    out = CliRunner().invoke(command, [name, "--help"])
    assert (out.exit_code, "--json" in out.output) == (0, True)
    assert not isinstance(out.exception, LilimsError)
