"""`lilims ci probes` and `lilims ci behaviour`: options, reports, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lilims.ci.commands.behaviour import command as behaviour
from lilims.ci.commands.ci import command as group
from lilims.ci.commands.probes import command as probes
from lilims.ci.macos import ladder
from lilims.ci.macos.behaviour import BEHAVIOUR
from lilims.ci.macos.ladder import LADDER
from lilims.ci.macos.rungs import Rung
from lilims.core.errors import MissingDependencyError, StorageError, UnsupportedError, UsageError

from .conftest import converts

STAND_INS = tuple(
    Rung(name, "it holds", "something else is done", f"misbehaving:{name}") for name in ("passes", "segfaults")
)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "LADDER", STAND_INS)


def run(command: Any, *arguments: str) -> Any:
    return CliRunner().invoke(command, [*arguments], catch_exceptions=True)


@converts
@pytest.mark.usefixtures("stand_ins")
def test_a_crash_makes_the_exit_code_and_the_reports(tmp_path: Path) -> None:
    artefact, summary = tmp_path / "probes.json", tmp_path / "summary.md"
    summary.write_text("# before\n")
    files = ("--artefact", str(artefact), "--summary", str(summary))
    done = run(probes, "--executor", "portable", "--json", *files)
    assert done.exit_code == 1
    value = json.loads(done.stdout)
    assert (value["kind"], value["schema_version"], value["passed"]) == ("probes", 1, False)
    assert [one["outcome"] for one in value["results"]] == ["passed", "crashed"]
    assert value["stand_in"] is True and value["executor"] == "portable"
    assert json.loads(artefact.read_text()) == value
    assert summary.read_text().startswith("# before\n## Probes: 1 of 2 passed\n")
    assert "Core ML was not run" in done.stderr and "segfaults: crashed" in done.stderr


@converts
@pytest.mark.usefixtures("stand_ins")
def test_one_alone_passes_and_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = run(probes, "--executor", "portable", "--only", "passes")
    assert done.exit_code == 0, done.output
    assert "portable on CPU_ONLY" in done.stdout and "1 of 1 passed" in summary.read_text()


@converts
@pytest.mark.usefixtures("stand_ins")
def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    done = run(probes, "--executor", "portable", "--only", "passes", "--artefact", str(tmp_path / "none" / "a.json"))
    assert isinstance(done.exception, StorageError)


def test_what_is_not_there_is_refused() -> None:
    done = run(probes, "--only", "slot-wrote")
    assert isinstance(done.exception, UsageError) and "slot-write" in str(done.exception.hint)


def test_nothing_is_asked_where_packages_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = run(probes, "--executor", "portable")
    assert isinstance(done.exception, MissingDependencyError) and "coremltools>=9" in str(done.exception.hint)


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML may run here")
@pytest.mark.parametrize("command", [probes, behaviour], ids=["probes", "behaviour"])
def test_core_ml_is_refused_where_it_is_not(command: Any) -> None:
    done = run(command, "--executor", "coreml")
    assert isinstance(done.exception, UnsupportedError) and done.stdout == ""


@pytest.mark.parametrize(("command", "rungs"), [(probes, LADDER), (behaviour, BEHAVIOUR)], ids=["probes", "behaviour"])
def test_the_questions_are_listed(command: Any, rungs: tuple[Rung, ...]) -> None:
    listed = json.loads(run(command, "--list", "--json").stdout)["rungs"]
    assert [one["name"] for one in listed] == [rung.name for rung in rungs]
    assert run(command, "--list").stdout.count("\n") == len(rungs) + 2


def test_the_group_finds_them_without_importing_what_they_use() -> None:
    found = {name: group.get_command(None, name) for name in ("probes", "behaviour")}  # type: ignore[arg-type]
    assert found == {"probes": probes, "behaviour": behaviour}
    code = """
import sys
before = set(sys.modules)
import lilims.ci.commands.probes, lilims.ci.commands.behaviour
print(*sorted({"numpy", "pydantic", "rich", "coremltools", "onnxruntime"} & set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
