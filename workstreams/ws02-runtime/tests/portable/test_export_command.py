"""`lilims export`: how targets are found, what `--to onnx` says, and what is wrong with a command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest

from lilims.core import cli
from lilims.core.console import console
from lilims.runtime.commands import export, export_onnx

from .test_package import program_spec, write

TARGETS = {"onnx": "lilims.runtime.commands.export_onnx:command", "other": f"{__name__}:other"}


@cli.command("other")
@click.option("--shape", required=True)
@cli.model_argument
def other(model: str, shape: str) -> None:
    """A target of another package."""
    console.result("export", {"target": "other", "model": model, "shape": shape}, lambda out: out.print(shape))


class Entry:
    module, value = "lilims.runtime.commands.export", "lilims.runtime.commands.export:command"

    def load(self) -> Any:
        return export.command


@pytest.fixture
def lilims(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    class Found:
        def __init__(self, name: str) -> None:
            self.name, self.value = name, TARGETS[name]
            self.module = self.value.partition(":")[0]

        def load(self) -> Any:
            return other if self.name == "other" else EntryPoint(self.name, self.value, export.GROUP).load()

    entry = Entry()
    entry.name = "export"  # type: ignore[attr-defined]
    monkeypatch.setattr(cli, "entry_points", lambda group: [entry])
    monkeypatch.setattr(export, "entry_points", lambda group: [Found(name) for name in TARGETS])
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> int:
        try:
            return cli.run(["export", *map(str, arguments)])
        finally:
            console.json = console.quiet = False

    return run


Run = Callable[..., int]
Out = pytest.CaptureFixture[str]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write(tmp_path, program_spec())


def test_onnx(lilims: Run, package: Path, tmp_path: Path, capsys: Out) -> None:
    assert lilims(package, "--to", "onnx", "-o", tmp_path / "m.onnx") == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.replace("ops:", "").splitlines())
    assert lines["function"] == "main, exact, opset 24"
    assert (lines["inputs"], lines["outputs"], lines["contrib"]) == ("x", "y", "none")
    assert "m.onnx" in lines["wrote"]
    assert (tmp_path / "m.onnx").is_file()


def test_json_and_the_default_file(lilims: Run, package: Path, tmp_path: Path, capsys: Out) -> None:
    assert lilims("--to=onnx", "--json", "-m", package, "--function", "main", "--precision", "fast") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["target"], found["files"]) == ("export", "onnx", ["model.onnx"])
    assert (found["function"], found["precision"], found["contrib_ops"]) == ("main", "fast", {})
    assert found["bytes"] == (tmp_path / "model.onnx").stat().st_size


def test_another_package_adds_a_target_with_options_of_its_own(lilims: Run, capsys: Out) -> None:
    assert lilims("some", "--to", "other", "--shape", "round", "--json") == 0
    assert json.loads(capsys.readouterr().out)["shape"] == "round"
    assert lilims("some", "--to", "other") == 2
    assert "Missing option '--shape'" in capsys.readouterr().err


def test_help(lilims: Run, capsys: Out) -> None:
    assert lilims("--help") == 0
    shown = capsys.readouterr().out
    assert "Targets:" in shown and "onnx   An ONNX file of one function" in shown
    assert lilims("--to", "onnx", "--help") == 0
    shown = capsys.readouterr().out
    assert "lilims export --to onnx [OPTIONS]" in shown and "--precision" in shown


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("{package}",), "--to is missing; the targets are onnx, other"),
        (("{package}", "--to", "elsewhere"), "no target 'elsewhere'; the targets are onnx, other"),
        (("{package}", "--to"), "requires an argument"),
        (("--to", "onnx"), "no model"),
        (("{package}", "--to", "onnx", "--function", "none"), "no function 'none'"),
        (("{package}", "--to", "onnx", "--precision", "half"), "'half' is not one of"),
    ],
    ids=["no target", "unknown target", "no value", "no model", "unknown function", "unknown precision"],
)
def test_a_wrong_command_line(
    arguments: tuple[str, ...], reason: str, lilims: Run, package: Path, tmp_path: Path, capsys: Out
) -> None:
    assert lilims(*(argument.format(package=package) for argument in arguments)) == 2
    assert reason in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.mlpackage"]


def test_bad_input_is_one_line(lilims: Run, package: Path, tmp_path: Path, capsys: Out) -> None:
    (tmp_path / "m.onnx").write_text("mine")
    (tmp_path / "text.txt").write_text("hello")
    empty = tmp_path / "empty.mlpackage"
    empty.mkdir()
    for model, target, reason in (
        (package, "m.onnx", "the target exists already"),
        (package, tmp_path / "none" / "m.onnx", "cannot be written"),
        (tmp_path / "text.txt", "n.onnx", "is a file, not a model folder"),
        (empty, "n.onnx", "no Manifest.json"),
        (tmp_path / "none.mlpackage", "n.onnx", "no such folder"),
    ):
        assert lilims(model, "--to", "onnx", "-o", target) == 1
        error = capsys.readouterr().err
        assert reason in error and "Traceback" not in error
    assert (tmp_path / "m.onnx").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "empty.mlpackage",
        "m.onnx",
        "model.mlpackage",
        "text.txt",
    ]


def test_the_target_is_registered() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"][export.GROUP] == {"onnx": TARGETS["onnx"]}
    assert project["entry-points"][cli.GROUP]["export"] == Entry.value
    assert export_onnx.command.name == "onnx"
