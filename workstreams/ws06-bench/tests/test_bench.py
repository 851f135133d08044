"""`lilims bench` on a tiny random model: its figures agree with each other, in every form."""

from __future__ import annotations

import csv
import io
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from lilims.bench import Workload, measure
from lilims.core.errors import ContextOverflowError, LilimsError, UsageError

from .conftest import Run

WORK = ("-p", "16", "-n", "8", "-r", "3", "--cold", "1", "--threads", "1")
SMALL = Workload(prompt=16, tokens=8, repetitions=3, cold=0, threads=1)


@pytest.fixture(scope="module")
def reports() -> dict[str, str]:
    return {}


def report(lilims: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert lilims("bench", tiny, *WORK, "--json") == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_the_figures_agree_with_each_other(lilims: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = report(lilims, tiny, capsys)
    assert (whole["kind"], whole["schema_version"]) == ("bench", 1)
    (seen,) = whole["models"]
    assert {name: whole[name] for name in seen} == seen, "of one model the figures stand at the top, too"
    for figure, count in (
        (seen["prefill"]["tokens_per_second"], 3),
        (seen["decode"]["tokens_per_second"], 3),
        (seen["first_token"]["warm_seconds"], 3),
        (seen["first_token"]["cold_seconds"], 1),
        (seen["load"]["seconds"], 1),
    ):
        assert len(figure["values"]) == count and min(figure["values"]) > 0
        assert figure["median"] == statistics.median(figure["values"])
        assert figure["mean"] == pytest.approx(statistics.fmean(figure["values"]))
        assert figure["sd"] == pytest.approx(statistics.stdev(figure["values"]) if count > 1 else 0.0)
    between = seen["decode"]["inter_token_seconds"]
    assert 0 < between["p50"] <= between["p90"] <= between["p99"] <= between["max"]
    slowest = 8 / min(seen["decode"]["tokens_per_second"]["values"])
    assert slowest / 8 <= between["max"] <= slowest, "no token takes longer than all of its repetition"
    assert seen["first_token"]["cold_seconds"]["median"] > seen["load"]["seconds"]["median"], "loading is part of it"
    memory = seen["memory"]
    assert memory["peak_rss"] >= memory["working"]["rss"] >= memory["working"]["private"] > 0
    assert "unavailable" in seen["energy"] or seen["energy"]["decode_millijoules_per_token"] >= 0
    assert (seen["name"], seen["scheme"]) == ("tiny", "int8")
    assert seen["weight_bytes"] == sum(path.stat().st_size for path in tiny.rglob("weight.bin"))


def test_several_models_in_every_form(
    lilims: Run, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    from lilims.core.manifest import Quality, identity, read_manifest, write_manifest

    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    manifest = read_manifest(other)
    record = Quality(
        text="a|text", text_sha256="0" * 64, ids="0" * 64, model=identity(manifest), windowing="all", context=64,
        windows=1, tokens=99, perplexity=12.345, nll=2.5, nll_error=0.1, tools={},
    )  # fmt: skip
    write_manifest(other, manifest.model_copy(update={"name": "other", "quality": [record]}))

    work = ("-p", "4", "-n", "2", "-r", "1", "--cold", "0", "--depth", "3")
    assert lilims("bench", tiny, "-m", other, *work, "-o", "md") == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["| model", "| ---", "| tiny", "| other"]
    assert rows[0][-1] == "perplexity |" and rows[3][-1] == "12.35 |" and rows[2][-1].strip() == "|"
    assert not any("cold" in cell for cell in rows[0]), "a column that no model fills is left out"

    assert lilims("bench", tiny, other, *work, "-o", "csv") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in table] == ["tiny", "other"]
    assert float(table[1]["perplexity.value"]) == 12.345
    assert all(float(row["decode.tokens_per_second.median"]) > 0 for row in table)

    assert lilims("bench", tiny, other, *work, "-o", "json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"kind", "schema_version", "machine", "workload", "models"}

    assert lilims("bench", tiny, other, *work) == 0
    shown = capsys.readouterr().out
    assert "decode, tokens/s" in shown and "2 tokens one by one behind 3" in shown and "on a|text" in shown


def test_perplexity_of_other_bytes_is_not_shown(tiny: Path, tmp_path: Path) -> None:
    from lilims.bench.measuring import _about
    from lilims.core.manifest import Quality, read_manifest

    manifest = read_manifest(tiny)
    record = Quality(
        text="text", text_sha256="0" * 64, ids="0" * 64, model="1" * 64, windowing="all", context=64,
        windows=1, tokens=99, perplexity=12.345, nll=2.5, nll_error=0.1, tools={},
    )  # fmt: skip
    assert _about(tiny, manifest.model_copy(update={"quality": [record]}))["perplexity"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("-p", "65"), 1, "the context holds 64"),
        (("-p", "8", "-n", "8", "-d", "60"), 1, "take -p and -n of at most 4"),
        (("-p", "0"), 2, "-p"),
        (("--compute-units", "ALL", "--executor", "portable", "-p", "8"), 1, "compute units are Core ML's"),
        (("-o", "xml"), 2, "xml"),
    ],
    ids=["prompt", "depth", "zero", "units", "form"],
)
def test_mistakes_are_refused_before_anything_is_measured(
    lilims: Run, tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], code: int, words: str,
) -> None:  # fmt: skip
    from lilims.bench import processes

    monkeypatch.setattr(processes, "Child", lambda task: pytest.fail("a process was started"))
    assert lilims("bench", tiny, *arguments) == code
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_model_that_is_not_there(lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("bench", "nowhere", "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "ModelNotFoundError"


def test_help_shows_options_and_subcommands(lilims: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from lilims.bench.commands.bench import _NAMES

    assert lilims("bench", "--help") == 0
    shown = capsys.readouterr().out
    assert "--repetitions" in shown
    for name in _NAMES:
        assert f"\n  {name} " in shown
        assert lilims("bench", name, "--help") == 0


def test_from_python(tiny: Path) -> None:
    seen = measure(tiny, SMALL)
    assert len(seen["decode"]["tokens_per_second"]["values"]) == 3
    assert seen["first_token"]["cold_seconds"] is None
    assert measure(tiny / "model.mlpackage", Workload(4, 2, 2, 1, 0))["name"] == "tiny"
    with pytest.raises(ContextOverflowError):
        measure(tiny, Workload(prompt=100))


@pytest.mark.parametrize("wrong", [{"prompt": 0}, {"tokens": 0}, {"depth": -1}, {"repetitions": 0}, {"threads": 0}])
def test_numbers_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Workload(**wrong)  # type: ignore[arg-type]


def test_what_fails_in_the_process_is_raised_here(tiny: Path, tmp_path: Path) -> None:
    """The class, words and hint of the child's error; a child that dies is an error with its last words."""
    import shutil

    from lilims.bench.processes import Child
    from lilims.core.errors import ExecutionError

    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    next(broken.rglob("weight.bin")).write_bytes(b"short")
    with pytest.raises(LilimsError, match=r"weight\.bin") as caught:
        measure(broken, SMALL)
    assert type(caught.value).__name__ == "IntegrityError"

    dying = "import os, sys; sys.stdin.readline(); print('last words', file=sys.stderr, flush=True); os._exit(7)"
    with (
        Child({"model": "m"}, command=("-c", dying)) as child,
        pytest.raises(ExecutionError, match=r"code 7: last words"),
    ):
        child.answer()


def test_interrupted_children_end(tiny: Path) -> None:
    """Whatever is raised while a child runs, it is gone afterwards."""
    from lilims.bench.processes import Child

    child = Child(
        {"model": str(tiny), "what": "serve", "engine": "lilims", "context": 64, "threads": 1, "vocabulary": 96}
    )

    def interrupted() -> None:
        with child:
            assert child.answer()["ready"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert child._process.poll() is not None
