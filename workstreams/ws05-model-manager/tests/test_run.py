"""`lilims run`: what is prompt and what is model, what goes where, how it ends."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import ContextOverflowError

from .conftest import FakeModel, write_model

Run = Callable[..., int]
Loaded = tuple[list[FakeModel], dict[str, Any]]
STORY = ", there was a fox.\nThe end"


@pytest.fixture
def tiny(home: Path) -> Path:
    write_model(home / "models" / "tiny")
    return home / "models" / "tiny"


@pytest.mark.parametrize(
    "arguments", [["tiny", "Once"], ["-m", "tiny", "Once"], ["Once", "--model", "tiny"]], ids=" ".join
)
def test_a_model_and_a_prompt(
    arguments: list[str], tiny: Path, lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lilims("run", *arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == STORY + "\n"
    assert captured.err == ""
    (model,) = loaded[0]
    assert model.folder == tiny
    assert model.asked[1] == {
        "prompt": "Once", "max_tokens": None, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": None,
    }  # fmt: skip


def test_without_a_model_the_built_in_one(
    home: Path, conversions: list[dict[str, Any]], lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lilims("run", "Once upon a time") == 0
    assert loaded[0][0].folder == home / "models" / "stories-int4"
    assert loaded[0][0].asked[1]["prompt"] == "Once upon a time"
    assert capsys.readouterr().out == STORY + "\n"


def test_options_reach_the_model(tiny: Path, lilims: Run, loaded: Loaded) -> None:
    options = ["-n", "5", "--temp", "0.7", "--top-k", "40", "--top-p", "0.9", "--seed", "3", "--threads", "2"]
    assert lilims("run", "tiny", "Once", *options) == 0
    assert loaded[0][0].asked == [
        {"load": {"threads": 2}},
        {"prompt": "Once", "max_tokens": 5, "temperature": 0.7, "top_k": 40, "top_p": 0.9, "seed": 3},
    ]


USAGE = {
    "no-prompt": ([], "there is no prompt"),
    "only-a-model": (["tiny"], "'tiny' is a model; there is no prompt"),
    "three": (["tiny", "Once", "upon"], "3 words where one or two are taken"),
    "twice": (["tiny", "Once", "-m", "tiny"], "the model is named twice"),
    "no-tokens": (["Once", "-n", "0"], "Invalid value for '-n'"),
    "not-a-number": (["Once", "--temp", "hot"], "Invalid value for '--temp'"),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage(case: str, tiny: Path, lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, words = USAGE[case]
    assert lilims("run", *arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
    assert loaded[0] == []


def test_an_absent_model(lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("run", "absent", "Once") == 1
    assert "no model 'absent'" in capsys.readouterr().err


def test_stdin(
    tiny: Path, lilims: Run, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Né\n\n".encode())))
    assert lilims("run", "tiny", "-") == 0
    assert loaded[0][0].asked[1]["prompt"] == "Né\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert lilims("run", "tiny", "-") == 2
    assert "stdin is not UTF-8 (byte 0)" in capsys.readouterr().err


def test_statistics_go_to_stderr(tiny: Path, lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("run", "tiny", "Once", "--stats", "--seed", "9") == 0
    captured = capsys.readouterr()
    assert captured.out == STORY + "\n"
    for words in ("prompt      3 tokens, 100 tokens/s", "first token 50 ms", "6 tokens, 50 tokens/s, finished by stop",
                  "peak memory ", "executor    portable, seed 9"):  # fmt: skip
        assert words in captured.err


def test_json(tiny: Path, lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("run", "tiny", "Once", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["kind"], value["schema_version"]) == ("generation", 1)
    assert (value["model"], value["prompt"], value["text"]) == ("tiny", "Once", STORY)
    assert value["statistics"]["generated_tokens"] == 6


def test_on_a_terminal_the_prompt_is_shown_on_stderr(
    tiny: Path, lilims: Run, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert lilims("run", "tiny", "Once [red]upon[/]") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (STORY + "\n", "Once [red]upon[/]")
    assert lilims("run", "tiny", "Once", "-q") == 0
    assert capsys.readouterr().err == ""


def test_an_interrupt_ends_the_line_and_exits_with_130(
    tiny: Path, lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded[1].update(fails_after=2, error=KeyboardInterrupt())
    assert lilims("run", "tiny", "Once", "--stats") == 130
    captured = capsys.readouterr()
    assert captured.out == ", there was\n"
    assert "finished by interrupt" in captured.err
    assert captured.err.endswith("interrupted\n")


def test_an_error_on_the_way(tiny: Path, lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    loaded[1].update(fails_after=1, error=ContextOverflowError("too long", hint="shorten it"))
    assert lilims("run", "tiny", "Once") == 1
    captured = capsys.readouterr()
    assert captured.out == ", there\n"
    assert captured.err == "error: too long\nhint:  shorten it\n"
