"""`lilims bench history`: the recorded runs, in a table, as plots and as JSON."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from lilims.bench.history import append, read
from lilims.bench.trend import trends
from lilims.core.errors import InputError

from .conftest import Run
from .test_gate import RECORDED


def test_runs_stand_in_their_order(lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("bench", "history", RECORDED, "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["kind"] == "bench-history"
    (model,) = seen["models"]
    recorded = [report["models"][0] for report in read(RECORDED)]
    expected = [statistics.median(one["decode"]["tokens_per_second"]["values"]) for one in recorded]
    assert [run["figures"]["decode, tokens/s"] for run in model["runs"]] == expected
    assert {run["lilims"] for run in model["runs"]} == {"0.1.0"}


def test_a_table_and_plots(lilims: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "speed.png"
    assert lilims("bench", "history", RECORDED, "--last", "3", "--plot", "--png", picture) == 0
    shown = capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    for words in ("stories-int4 (int4)", "first token, warm, ms", "peak RSS, MB", "⠀"):
        assert words in shown, words
    assert sum(line.lstrip().startswith(("1 ", "2 ", "3 ", "4 ")) for line in shown.splitlines()) == 3


def test_runs_of_other_work_are_left_out() -> None:
    report = read(RECORDED)[0]
    other = {**report, "workload": {**report["workload"], "prompt": 1}}
    two = {**report, "models": [{**report["models"][0], "name": name} for name in ("a", "b")]}
    assert [len(one["runs"]) for one in trends([report, other, report])] == [2]
    assert [(one["name"], len(one["runs"])) for one in trends([two, report, two], last=1)] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    "change",
    [{"machine": {}}, {"machine": None}, {"machine": {"processor": "x"}}, {"models": [{"name": "x"}]}, {"models": [3]}],
    ids=json.dumps,
)
def test_a_report_that_lacks_what_tells_runs_apart(tmp_path: Path, change: dict[str, Any]) -> None:
    append(tmp_path / "history.jsonl", {**read(RECORDED)[0], **change})
    with pytest.raises(InputError, match="line 1 is no report"):
        read(tmp_path / "history.jsonl")


def test_strange_figures_are_left_out_of_what_is_drawn(
    lilims: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = read(RECORDED)[0]
    machine = {**report["machine"], "versions": {"lilims": 3}}
    model = {**report["models"][0], "name": "[red]x\x1b[2J", "memory": {"peak_rss": float("inf")}, "decode": None}
    append(tmp_path / "history.jsonl", {**report, "machine": machine, "models": [model], "time": "soon"})
    assert lilims("bench", "history", tmp_path / "history.jsonl", "--plot") == 0
    shown = capsys.readouterr().out
    assert "[red]x" in shown and "\x1b[2J" not in shown and "peak RSS" not in shown and "decode" not in shown
