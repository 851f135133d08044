"""The record of speeds beside peers: measured in turns with a stand-in for llama.cpp, kept unrounded, and shown."""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

import generated_pages
import peers_gguf
import peers_speed
import peers_table
from lilims.bench.turns import Times

STAND_IN = '''
import ctypes
from types import SimpleNamespace

class Llama:
    """As much of llama-cpp-python as is measured; it computes nothing."""
    def __init__(self, path, **options):
        self.ctx, self.n_tokens, self._ctx = None, 0, SimpleNamespace(kv_cache_seq_rm=lambda *_: None)
    def eval(self, ids):
        self.n_tokens += len(ids)
    def n_vocab(self):
        return 8

def llama_get_logits_ith(context, index):
    return ctypes.cast((ctypes.c_float * 8)(), ctypes.POINTER(ctypes.c_float))
'''
WORK: dict[str, Any] = {"prompt": 8, "depths": [0, 16], "tokens": 2, "rounds": 3, "threads": 1}
MACHINE = {"processor": "a processor", "cores": 2, "system": "Linux", "versions": {"lilims": "0.1.0"}}


def entry(engines: list[str], seconds: Times, **changed: Any) -> peers_table.Entry:
    values = {"model": "1.1b", "kind": "Q4_0", "when": "measured on a day", "machine": MACHINE, "weights": {}}
    return peers_table.Entry(**(values | WORK | {"engines": engines, "seconds": seconds} | changed))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the record."""
    path = tmp_path / "peers_speed.json"
    path.write_bytes(peers_table.RESULTS.read_bytes())
    monkeypatch.setattr(peers_table, "RESULTS", path)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build: nothing to convert with")
def test_every_round_is_recorded(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """lilims itself, in processes; llama.cpp is a module that computes nothing."""
    library = tmp_path / "library"
    (library / "llama_cpp_python-9.8.7.dist-info").mkdir(parents=True)
    (library / "llama_cpp_python-9.8.7.dist-info" / "METADATA").write_text("Name: llama-cpp-python\nVersion: 9.8.7\n")
    (library / "llama_cpp.py").write_text(STAND_IN, "utf-8")
    monkeypatch.syspath_prepend(str(library))
    monkeypatch.setenv("PYTHONPATH", str(library), prepend=os.pathsep)
    monkeypatch.setattr(peers_speed, "read_bandwidth", lambda threads: 12.5e9)
    peers_gguf.write_float(tmp_path / "builtin-Q8_0.gguf", "Q8_0")  # what llama.cpp's quantiser would have written
    before = json.loads(results.read_text("utf-8"))
    options = ["--model", "builtin", "--types", "Q8_0", "--engines", "llama.cpp", "lilims", "--keep", str(tmp_path)]
    options += ["--prompt", "8", "--depths", "0", "16", "--tokens", "2", "--rounds", "3", "--threads", "1"]

    assert peers_speed.main([*options, "--print"]) == 0
    assert json.loads(results.read_text("utf-8")) == before, "--print records nothing"
    assert peers_speed.main(options) == 0
    *others, found = json.loads(results.read_text("utf-8"))
    assert others == before, "what was not measured again stays"
    assert {name: found[name] for name in WORK} == WORK and found["engines"] == ["llama.cpp", "lilims"]
    assert list(found["seconds"]) == ["start", "prompt of 8", "tokens behind 0", "tokens behind 16"]
    rounds = [seconds for engines in found["seconds"].values() for seconds in engines.values()]
    assert len(rounds) == 8 and all(len(seconds) == 3 and min(seconds) > 0 for seconds in rounds)
    assert any(value != round(value, 6) for seconds in rounds for value in seconds), "unrounded"
    assert found["machine"]["versions"]["llama-cpp-python"] == "9.8.7" and found["machine"]["read_bandwidth"] == 12.5e9
    assert {"lilims", "python", "numpy", "onnxruntime"} <= found["machine"]["versions"].keys()
    assert found["weights"]["llama.cpp"] == (tmp_path / "builtin-Q8_0.gguf").stat().st_size
    assert str(tmp_path) not in results.read_text("utf-8"), "no folder of a machine"

    middle = statistics.median(found["seconds"]["prompt of 8"]["lilims"])
    shown = capsys.readouterr().out.split("The built-in model beside llama.cpp:")[-1]
    assert f"|  | lilims | {1 / middle:,.1f} tokens/s |" in shown and "12.5 GB/s" in shown
    assert "`hatch run peers:speed --model builtin --types Q8_0 --engines llama.cpp lilims --prompt 8" in shown

    assert peers_speed.main(options) == 0
    *others, again = json.loads(results.read_text("utf-8"))
    assert others == before and again["seconds"] != found["seconds"], "the same work has one entry, the newest"


def test_what_is_the_same_work(results: Path) -> None:
    """More rounds or tokens take an entry's place; another depth, prompt, engine or type is beside it."""
    count = len(peers_table.read())
    for changed, more in (({}, 1), ({"rounds": 9, "tokens": 64}, 1), ({"depths": [0]}, 2), ({"kind": "Q8_0"}, 3)):
        peers_table.record(entry(["llama.cpp", "lilims"], {"start": {"llama.cpp": [1.0], "lilims": [2.0]}}, **changed))
        assert len(peers_table.read()) == count + more
    assert peers_table.read()[count].rounds == 9


def test_figures_are_medians_and_ratios_of_a_round() -> None:
    seconds = {
        "start": {"llama.cpp": [0.5, 0.25, 1.0], "lilims": [1.0, 2.0, 2.5]},
        "prompt of 1024": {"llama.cpp": [0.04, 0.05, 0.06], "lilims": [0.01, 0.02, 0.05]},
    }
    one = entry(["llama.cpp", "lilims"], seconds, weights={"lilims": 1_234_500_000})
    assert one.figures()["prompt of 1024"]["lilims"] == {
        "speed": pytest.approx(50), "ratio": pytest.approx({"median": 2.5, "lowest": 1.2, "highest": 4.0}),
    }  # fmt: skip
    other = entry(["llama.cpp", "lilims-kernels"], {}, kind="Q8_0", note="a note", stated={
        "tokens behind 0": {"lilims-kernels": {"ratio": {"median": 1.5, "lowest": 1.0, "highest": 2.0}}},
    })  # fmt: skip
    assert peers_table.tables([one, other]).splitlines()[2:9] == [
        "|  | engine | Q4_0 | Q4_0 against llama.cpp | Q8_0 against llama.cpp |",
        "| --- | --- | ---: | ---: | ---: |",
        "| process start to first token | llama.cpp | 0.50 s |  |  |",
        "|  | lilims | 2.0 s | 0.40 (0.12 to 0.50) |  |",
        "| prompt of 1,024 | llama.cpp | 20.0 tokens/s |  |  |",
        "|  | lilims | 50.0 tokens/s | **2.50** (1.20 to 4.00) |  |",
        "| tokens behind nothing | lilims, lilims-kernels |  |  | 1.50 (1.00 to 2.00) |",
    ]
    origins = peers_table.tables([one, other]).splitlines()[-2:]
    assert "weights: lilims 1,234 MB; 2 cores of a processor, Linux; lilims 0.1.0." in origins[0]
    assert (
        origins[1].startswith("- Q8_0, measured on a day: `hatch run peers:speed") and "; a note; 2 cores" in origins[1]
    )


def test_an_edited_figure_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (generated_pages.DOCS / "performance.md").read_text("utf-8")
    (tmp_path / "performance.md").write_text(text.replace(" tokens/s |", "1 tokens/s |", 1), "utf-8")
    monkeypatch.setattr(generated_pages, "DOCS", tmp_path)
    assert generated_pages.main(["--check", "peers-speed"]) == 1
    assert "run python tools/generated_pages.py peers-speed" in capsys.readouterr().err
    assert generated_pages.main(["peers-speed"]) == 0
    assert (tmp_path / "performance.md").read_text("utf-8") == text


def test_an_entry_has_rounds_or_what_was_stated() -> None:
    """Every figure of the record belongs to an engine and a task of its entry."""
    for one in peers_table.read():
        assert bool(one.seconds) != bool(one.stated)
        tasks = {"start", f"prompt of {one.prompt}", *(f"tokens behind {depth}" for depth in one.depths)}
        assert one.figures().keys() <= tasks
        assert {engine for of in one.figures().values() for engine in of} <= set(one.engines)
        for engines in one.seconds.values():
            assert {len(seconds) for seconds in engines.values()} == {one.rounds}
