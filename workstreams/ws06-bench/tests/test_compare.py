"""`lilims bench compare`: in turns, with ratios that follow from the figures; peers that are not there are refused."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lilims.bench import turns
from lilims.bench.comparing import _weights, parse_peer, weight_bytes
from lilims.bench.engines import ENGINES, LIBRARIES, open_engine
from lilims.bench.turns import Turns, in_turns, ratio
from lilims.core.errors import MissingDependencyError, UsageError

from .conftest import Run

WORK = ("-p", "8", "-n", "4", "-d", "0", "-d", "16", "-r", "2", "--threads", "1")


def test_ratios_follow_from_the_rounds(lilims: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The peer is lilims in float32: a real engine that is always there."""
    assert lilims("bench", "compare", tiny, "--peer", f"lilims-exact={tiny}", *WORK, "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["kind"] == "comparison"
    assert [task["task"] for task in seen["tasks"]] == ["start", "prompt of 8", "tokens behind 0", "tokens behind 16"]
    for task in seen["tasks"]:
        own, other = (task["engines"][label]["values"] for label in ("lilims", "lilims-exact"))
        assert len(own) == len(other) == 2 and min(*own, *other) > 0
        speeds = [b / a if task["unit"] == "seconds" else a / b for a, b in zip(own, other, strict=True)]
        found = task["lilims_against"]["lilims-exact"]
        assert found["median"] == pytest.approx(statistics.median(speeds))
        assert (found["lowest"], found["highest"]) == pytest.approx((min(speeds), max(speeds)))
    shallow, deep = (one["tokens_per_second"] for one in seen["bounds"] if one["engine"] == "lilims")
    read = seen["machine"]["read_bandwidth"]
    assert shallow == pytest.approx(read / weight_bytes(tiny))
    assert deep == pytest.approx(read / (weight_bytes(tiny) + 16 * 2 * 2 * 1 * 32 * 2)), "2 layers, 1 head of 32, fp16"


def test_the_table(lilims: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = ("-p", "4", "-n", "2", "-r", "1", "--threads", "1")
    assert lilims("bench", "compare", tiny, "--peer", f"lilims={tiny}", *work) == 0
    shown = capsys.readouterr().out
    assert f"lilims {tiny.name}" in shown and "lilims against it" in shown and "memory is read at" in shown


def test_turns_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a round each engine works once, in the order given; the first round of each kind does not count."""
    seen: list[tuple[str, str, int]] = []

    class Fake:
        def __init__(self, task: dict[str, Any], environment: dict[str, str]) -> None:
            self.name = task["engine"]

        def __enter__(self) -> Fake:
            return self

        def __exit__(self, *_: object) -> None: ...

        def answer(self) -> dict[str, Any]:
            return {}

        def ask(self, what: str, count: int) -> dict[str, Any]:
            seen.append((self.name, what, count))
            return {"seconds": [2.0] if what == "append" else [1.0] * count}

    monkeypatch.setattr(turns, "Child", Fake)
    paths = {"a": ("lilims", Path("a")), "b": ("llama.cpp", Path("b"))}
    times = in_turns(paths, Turns(10, 3, (5,), 2, 1, 64, 96))
    assert {task: {label: len(values) for label, values in of.items()} for task, of in times.items()} == {
        task: {"a": 2, "b": 2} for task in ("start", "prompt of 10", "tokens behind 5")
    }
    assert times["prompt of 10"]["a"] == [0.2, 0.2] and times["tokens behind 5"]["b"] == [1.0, 1.0]
    rounds = [name for name, what, _ in seen if what == "one_by_one"]
    assert rounds == ["lilims", "llama.cpp"] * 3
    behind = [count for name, what, count in seen if what == "rewind" and name == "lilims"]
    assert behind == [0, 0, 0, 0, 5, 5, 5], "the cache is the same before every task"


def test_ratio() -> None:
    assert ratio([2.0, 3.0, 8.0], [1.0, 2.0, 2.0]) == {"median": 2.0, "lowest": 1.5, "highest": 4.0}


@pytest.mark.parametrize("text", ["llama.cpp", "llama.cpp=", "ollama=x", "llama.cpp=/nowhere/x.gguf", "=x"])
def test_peers_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_peer(text)


@pytest.mark.parametrize("name", sorted(LIBRARIES))
def test_libraries_that_are_not_installed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, package = LIBRARIES[name]
    monkeypatch.setitem(sys.modules, module, None)
    if name == "mlx-lm":
        monkeypatch.setitem(sys.modules, "mlx.core", None)
    with pytest.raises(MissingDependencyError) as caught:
        open_engine(name, tmp_path, 64, 1)
    assert package in (caught.value.hint or "")


def test_every_engine_has_a_library_or_is_lilims() -> None:
    assert {name for name in ENGINES if not name.startswith("lilims")} == set(LIBRARIES)


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_transformers_computes_the_same(tiny: Path, checkpoint: Path) -> None:
    """The likeliest tokens agree, also behind a rewind: the adapter runs what it says it runs."""
    ours, theirs = (
        open_engine(name, path, 64, 1) for name, path in (("lilims-exact", tiny), ("transformers", checkpoint))
    )
    for ids in ([1, 2, 3, 4], [5], [6]):
        assert ours.append(ids) == theirs.append(ids)
    for engine in (ours, theirs):
        engine.rewind(4)
    assert ours.append([7, 8]) == theirs.append([7, 8])


def test_whether_the_weights_are_the_same(tmp_path: Path) -> None:
    """A GGUF file is held against the hash of the file that the model was made from; a folder tells nothing."""
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    for content, kind, same in (
        (b"weights", "gguf", True),
        (b"others", "gguf", False),
        (b"weights", "huggingface", None),
    ):
        source = SimpleNamespace(kind=kind, sha256=hashlib.sha256(content).hexdigest())
        manifest: Any = SimpleNamespace(source=source)
        found = _weights("llama.cpp", file, manifest)
        assert (found["same_weights"], found["weight_bytes"]) == (same, 7)
        assert _weights("transformers", tmp_path, manifest)["same_weights"] is None
