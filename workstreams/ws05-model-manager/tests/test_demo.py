"""`lilims demo`: what it converts, measures and says, with conversion, evaluation and model replaced."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lilims.models.commands.demo import _Wrapper

from .conftest import FakeModel

Run = Callable[..., int]
Loaded = tuple[list[FakeModel], dict[str, Any]]
Scored = list[tuple[str, int, int]]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Scored:
    """Stands in for `lilims.conversion.perplexity`: which package, how many ids, which window."""
    from lilims.conversion.evaluation import measure

    seen: Scored = []

    def perplexity(model: FakeModel, ids: Sequence[int], *, window: int) -> SimpleNamespace:
        seen.append((model.manifest.quantization.scheme, len(ids), window))
        return SimpleNamespace(value=5.0 if model.manifest.quantization.scheme == "fp16" else 5.1, tokens=len(ids))

    monkeypatch.setattr(measure, "perplexity", perplexity)
    return seen


def test_the_walk(
    home: Path, conversions: list[dict[str, Any]], loaded: Loaded, scored: Scored, lilims: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert lilims("demo", "--windows", "2") == 0
    assert [(c["quantize"], c["name"]) for c in conversions] == [("fp16", "stories-fp16"), ("int4", "stories-int4")]
    assert scored == [("fp16", 128, 64), ("int4", 128, 64)]
    out = capsys.readouterr().out
    for words in ("1.00 M parameters", "16.00", "4.60", "5.000", "5.100", "+2.0%", "50",
                  "Once upon a time, there was a fox.", "6 tokens at 50 tokens/s"):  # fmt: skip
        assert words in out
    assert (home / "models" / "stories-int4" / "manifest.json").is_file()
    assert not Path(conversions[0]["out"]).exists()  # fp16 was for the comparison only
    precisions = [model.asked[0]["load"].get("precision") for model in loaded[0]]
    assert precisions == ["exact", None, "exact", None, None]
    assert loaded[0][-1].asked[1] == {"prompt": "Once upon a time", "temperature": 0.8, "top_k": 40, "seed": 1}


def test_json(
    conversions: list[dict[str, Any]], loaded: Loaded, scored: Scored, lilims: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lilims("demo", "--json", "--prompt", "A fox") == 0
    value = json.loads(capsys.readouterr().out)
    assert [(p["scheme"], p["perplexity"], p["bits_per_weight"]) for p in value["packages"]] == [
        ("fp16", 5.0, 16.0), ("int4", 5.1, 4.6),
    ]  # fmt: skip
    assert value["story"] == "A fox, there was a fox.\nThe end"
    assert value["packages"][0]["tokens_per_second"] == 50


def wrapped(width: int, *pieces: str) -> list[str]:
    from rich.console import Console

    out = io.StringIO()
    wrapper = _Wrapper(Console(file=out, width=200, soft_wrap=True), width)
    for piece in pieces:
        wrapper.write(piece)
    wrapper.end()
    return out.getvalue().splitlines()


def test_lines_break_between_words() -> None:
    assert wrapped(20, "one two three four five six seven") == ["  one two three four", "  five six seven"]


def test_words_may_come_in_pieces() -> None:
    assert wrapped(20, "on", "e t", "wo th", "ree", " fo", "ur", " fi", "ve") == ["  one two three four", "  five"]


def test_line_breaks_are_kept() -> None:
    assert wrapped(20, "one", "\n\ntwo\n") == ["  one", "", "  two", ""]


def test_a_long_word_stands_alone() -> None:
    assert wrapped(20, "a " + "x" * 30 + " b") == ["  a", "  " + "x" * 30, "  b"]
