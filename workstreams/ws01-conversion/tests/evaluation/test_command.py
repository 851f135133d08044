"""`lilims eval` and `lilims data` as commands: output, exit codes, what is left behind."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from lilims.conversion.commands import data, eval
from lilims.core import cli
from lilims.core.console import console
from lilims.core.manifest import read_manifest

from .conftest import TEXT, Made

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lilims(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """Runs a command in this process, in a folder that holds story.txt; gives exit code, stdout and stderr."""
    entries = [
        SimpleNamespace(name=name, module=f"lilims.conversion.commands.{name}", load=lambda made=made: made)
        for name, made in (("eval", eval.command), ("data", data.command))
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: entries)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "story.txt").write_text(TEXT.content, "utf-8")

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    yield run
    console.json = console.quiet = False


@pytest.fixture
def model(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made("int4"), tmp_path / "tiny"))


COMMON = ("--text", "story.txt", "--context", 64, "--windows", 3, "--jobs", 1)


def test_json_has_every_figure(lilims: Run, model: Path, made: Made) -> None:
    code, out, err = lilims("eval", model, *COMMON, "--reference", made("fp16"), "--json")
    assert (code, err) == (0, "")
    value: dict[str, Any] = json.loads(out)
    assert (value["kind"], value["schema_version"], value["recorded"]) == ("evaluation", 1, True)
    assert (value["windows"], value["tokens"], value["windowing"], value["context"]) == (3, 93, "llama.cpp", 64)
    low, high = value["perplexity_interval"]
    assert low < value["perplexity"] < high
    against = value["reference"]
    assert against["change"] == pytest.approx(value["perplexity"] / against["perplexity"] - 1)
    assert against["divergence_median"] < against["divergence"] < against["divergence_p99"] <= against["divergence_max"]
    assert 0.5 < against["same_top"] < 1 and against["logits_rms"] > 0
    assert sum(one["tokens"] for one in value["by_position"]) == 93
    (one,) = read_manifest(model).quality
    assert one.perplexity == value["perplexity"]


def test_people_get_lines(lilims: Run, model: Path, made: Made) -> None:
    code, out, err = lilims("eval", model, *COMMON, "--reference", made("fp16"), "--no-record")
    assert (code, err) == (0, "")  # no bar on a pipe
    assert out.startswith("perplexity ") and "bits per byte" in out and "divergence (KL), mean" in out
    assert "93 tokens in 3 windows of 64; the second halves count" in out
    assert read_manifest(model).quality == []


def test_fail_over(lilims: Run, model: Path, made: Made) -> None:
    options = (*COMMON, "--reference", made("fp16"), "--no-record")
    code, out, _ = lilims("eval", model, *options, "--json")
    change = json.loads(out)["reference"]["change"]
    assert change > 0.001
    code, out, err = lilims("eval", model, *options, "--fail-over", f"{100 * change + 0.1:.6f}%", "--json")
    assert (code, err, json.loads(out)["fail_over"]["passed"]) == (0, "", True)
    code, out, err = lilims("eval", model, *options, "--fail-over", f"{change - 0.0005:.6f}", "--json")
    assert (code, json.loads(out)["fail_over"]["passed"]) == (1, False)
    assert err.splitlines() == [
        f"over: the perplexity is {change:+.2%} against the reference's, {change - 0.0005:.2%} more are allowed"
    ]


def test_a_report_is_written(lilims: Run, model: Path, made: Made) -> None:
    pytest.importorskip("matplotlib")
    code, out, _ = lilims("eval", model, *COMMON, "--reference", made("fp16"), "--report", "r.html", "--json")
    assert (code, json.loads(out)["report"]) == (0, "r.html")
    assert Path("r.html").read_text("utf-8").startswith("<!doctype html>")


def test_a_folder_that_cannot_be_written_costs_a_note(
    lilims: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilims.conversion.evaluation import record
    from lilims.core.errors import StorageError

    def refused(*_: object) -> None:
        raise StorageError("cannot be written: Read-only file system", where=model)

    monkeypatch.setattr(record.m, "write_manifest", refused)
    code, out, err = lilims("eval", model, *COMMON, "--json")
    assert (code, json.loads(out)["recorded"]) == (0, False)
    assert err.startswith("note: not recorded, ") and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--fail-over", "3%"), 2, "--fail-over compares with a reference"),
        (("--fail-over", "three"), 2, "is not a share such as 3% or 0.03"),
        (("--also", "x"), 2, "--also goes with --report"),
        (("--report", "nowhere/r.html"), 1, "there is no such folder"),
        (("--jobs", "0"), 2, "--jobs"),
        (("--dask", "tcp://127.0.0.1:1"), 2, "--jobs takes processes of this machine, --dask those of a cluster"),
        (("--limit", "3"), 2, "--limit does not go with --text"),
        (("--tasks", "arc_easy"), 2, "does not go with --tasks"),
    ],
)
def test_options_that_make_no_sense(
    lilims: Run, model: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    if "--report" in options:
        pytest.importorskip("matplotlib")
    found, out, err = lilims("eval", model, *COMMON, *options)
    assert (found, out) == (code, "") and message in err


def test_neither_text_nor_tasks(lilims: Run, model: Path) -> None:
    code, out, err = lilims("eval", model)
    assert (code, out) == (2, "") and "name a text with --text, or tasks with --tasks" in err


def test_tasks_are_shown(lilims: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.conversion.evaluation import tasks

    figures = [tasks.Figure("one", "acc", "none", 0.5, 0.125, 5, 16, "1.0")]
    asked: list[Any] = []

    def run(*arguments: Any, **options: Any) -> tasks.TaskResults:
        asked.append((arguments, options))
        return tasks.TaskResults("tiny", "0" * 64, figures, "0.4.13", options["limit"])

    monkeypatch.setattr(tasks, "run_tasks", run)
    code, out, err = lilims("eval", model, "--tasks", "one, two,", "--limit", 16, "--num-fewshot", 5, "--threads", 2)
    assert (code, err) == (0, "") and "0.5000 ± 0.1250" in out and "not a benchmark" in out
    options = {"limit": 16, "num_fewshot": 5, "task_path": None, "threads": 2}
    assert asked == [((str(model), ["one", "two"]), options)]
    code, out, _ = lilims("eval", model, "--tasks", "one", "--json")
    value = json.loads(out)
    assert (code, value["kind"], value["figures"][0]["value"], value["limit"]) == (0, "tasks", 0.5, None)


GUIDE = (Path(__file__).parents[4] / "docs" / "quality.md").read_text("utf-8")
LINES = [line.split("#")[0].strip() for line in re.findall(r"lilims eval [^`\n&]+", GUIDE)]


def test_the_guide_has_commands() -> None:
    assert len(LINES) > 5


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_commands_of_the_guide_parse(line: str) -> None:
    with click.Context(eval.command) as context:
        eval.command.parse_args(context, shlex.split(line)[2:])
    assert context.params["text"] or context.params["tasks"]


def test_data(lilims: Run) -> None:
    code, out, _ = lilims("data", "--json")
    assert code == 0
    assert [(one["name"], one["there"]) for one in json.loads(out)["texts"]] == [
        ("wikitext2", False), ("tinystories", False),
    ]  # fmt: skip
    code, out, err = lilims("data", "nothing")
    assert (code, out) == (2, "") and "no text 'nothing'" in err
