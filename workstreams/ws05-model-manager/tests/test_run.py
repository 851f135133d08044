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
DEFAULTS = {"session": "a session, error", "stop": (), "ignore_eos": False}
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
    assert model.asked[1] == {"prompt": "Once", **DEFAULTS}


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
    asked = {"prompt": "Once", **DEFAULTS, "max_tokens": 5, "temperature": 0.7, "top_k": 40, "top_p": 0.9, "seed": 3}
    assert loaded[0][0].asked == [{"load": {"isolate": False, "threads": 2}}, asked]


EACH = {
    "min-p": (["--min-p", "0.1"], {"min_p": 0.1}),
    "typical": (["--typical-p", "0.9"], {"typical_p": 0.9}),
    "repeat": (["--repeat-penalty", "1.1"], {"repetition_penalty": 1.1}),
    "frequency": (["--frequency-penalty", "0.5"], {"frequency_penalty": 0.5}),
    "presence": (["--presence-penalty", "0.5"], {"presence_penalty": 0.5}),
    "bias": (["--logit-bias", "5=-100", "--logit-bias", "7=2"], {"logit_bias": {5: -100.0, 7: 2.0}}),
    "logprobs": (["--logprobs", "2"], {"logprobs": 2}),
    "stop": (["--stop", "a", "--stop", "\n\n"], {"stop": ("a", "\n\n")}),
    "ignore-eos": (["--ignore-eos"], {"ignore_eos": True}),
    "policy": (["--context-policy", "sinks"], {"session": "a session, sinks"}),
}


@pytest.mark.parametrize("case", EACH)
def test_each_option(case: str, tiny: Path, lilims: Run, loaded: Loaded) -> None:
    arguments, asked = EACH[case]
    assert lilims("run", "tiny", "Once", *arguments) == 0
    assert loaded[0][0].asked[1] == {"prompt": "Once", **DEFAULTS, **asked}


def test_options_of_loading(tiny: Path, lilims: Run, loaded: Loaded) -> None:
    options = ["--executor", "portable", "--precision", "exact", "--context", "32", "--compute-units", "CPU_ONLY"]
    assert lilims("run", "tiny", "Once", *options, "--isolate") == 0
    assert loaded[0][0].asked[0]["load"] == {
        "isolate": True, "executor": "portable", "precision": "exact", "context": 32,
        "compute_units": "CPU_ONLY",
    }  # fmt: skip


# -- chats -----------------------------------------------------------------------------------------------------------


def test_a_chat_model_answers(tiny: Path, lilims: Run, loaded: Loaded) -> None:
    loaded[1]["chats"] = True
    assert lilims("run", "tiny", "Hi", "--system", "Be kind.", "--no-think") == 0
    asked = loaded[0][0].asked[1]
    assert asked["prompt"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert asked["think"] is False
    assert lilims("run", "tiny", "Hi", "--raw") == 0
    assert loaded[0][1].asked[1]["prompt"] == "Hi"


@pytest.mark.parametrize("option", [["--system", "Be kind."], ["--think"]], ids="".join)
def test_options_of_chats_need_a_template(
    option: list[str], tiny: Path, lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lilims("run", "tiny", "Once", *option) == 2
    assert f"{option[0]} is for models with a chat template" in capsys.readouterr().err


def test_reasoning_is_kept_apart(tiny: Path, lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    loaded[1].update(chats=True, reasoning="a fox?")
    assert lilims("run", "tiny", "Hi") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (STORY + "\n", "a fox?")
    assert lilims("run", "tiny", "Hi", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["text"], value["reasoning"]) == (STORY, "a fox?")


def test_logprobs_in_json(tiny: Path, lilims: Run, loaded: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("run", "tiny", "Once", "--json", "--logprobs", "1") == 0
    tokens = json.loads(capsys.readouterr().out)["tokens"]
    assert tokens[0] == {
        "id": 0, "text": ", there", "logprob": -0.5, "top_logprobs": [{"id": 0, "logprob": -0.5}],
    }  # fmt: skip


def test_a_prompt_from_a_file(tiny: Path, lilims: Run, loaded: Loaded, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes("Es war é\n".encode())
    assert lilims("run", "tiny", "-f", str(file)) == 0
    assert loaded[0][0].asked[1]["prompt"] == "Es war é"
    file.write_bytes(b"\xff")
    assert lilims("run", "tiny", "-f", str(file)) == 2


USAGE = {
    "bias": (["tiny", "Once", "--logit-bias", "five"], "--logit-bias 'five' is not ID=X"),
    "two-constraints": (["tiny", "Once", "--regex", "a", "--json-schema", __file__], "exclude each other"),
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


@pytest.mark.parametrize("arguments", [[], ["tiny"], ["-m", "tiny"]], ids=["alone", "a model", "-m"])
def test_a_pipe_is_the_prompt_where_none_is_given(
    arguments: list[str], tiny: Path, lilims: Run, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Né\n\n".encode())))
    assert lilims("run", *arguments) == 0
    assert loaded[0][0].asked[1]["prompt"] == "Né\n"


def test_a_prompt_leaves_the_pipe_alone(
    tiny: Path, lilims: Run, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = io.BytesIO(b"for somebody else")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pipe))
    assert lilims("run", "tiny", "Once") == 0
    assert loaded[0][0].asked[1]["prompt"] == "Once"
    assert pipe.tell() == 0


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
