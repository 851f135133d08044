"""The gate that answers pass in moderated chats, and the classifier where it is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lilims.ui.web import moderation
from lilims.ui.web.errors import NotAllowedError
from lilims.ui.web.moderation import Gate, sentences

installed = pytest.mark.skipif(not moderation.available(), reason="needs lilims-ui[moderation]")

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other work may run beside it


def _bad(text: str) -> bool:
    return "bad" in text


@patient
@given(st.lists(st.text(alphabet="ab .!?\n。", max_size=12), max_size=12))
def test_what_is_harmless_comes_through_whole(parts: list[str]) -> None:
    gate = Gate(lambda text: False)
    shown = "".join(gate.feed(part) for part in parts) + gate.feed("", last=True)
    assert shown == "".join(parts)


@patient
@given(st.text(alphabet="ab .!?\n", max_size=60), st.data())
def test_how_an_answer_is_cut_into_tokens_changes_nothing(text: str, data: st.DataObject) -> None:
    text += " This is bad. And more."
    gate, shown, at = Gate(_bad), "", 0
    while at < len(text):
        size = data.draw(st.integers(1, 9))
        shown += gate.feed(text[at : at + size])
        at += size
    shown += gate.feed("", last=True)
    assert gate.closed
    assert text.startswith(shown) and "bad" not in shown


def test_nothing_of_a_flagged_sentence_is_shown() -> None:
    gate = Gate(_bad)
    shown = [gate.feed(part) for part in ("All is ", "well. This ", "is ba", "d, very bad", ". Or not. ", "Good. ")]
    assert "".join(shown) == "All is well."
    assert gate.closed and gate.feed("Good again. ", last=True) == ""


def test_a_sentence_without_end_is_not_held_for_ever() -> None:
    gate = Gate(lambda text: False)
    assert gate.feed("x" * 300) == ""
    assert gate.feed("x" * 300) == "x" * 600


def test_sentences() -> None:
    assert sentences("One. Two!  Three?\nfour\n\n") == ["One.", " Two!", "  Three?", "four\n"] or sentences(
        "One. Two!  Three?\nfour\n\n"
    ) == ["One.", " Two!", "  Three?", "\n", "four\n"]
    assert sentences("   ") == []


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    moderation._classifier.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "profanity_check", None)
    with pytest.raises(NotAllowedError, match="not installed") as caught:
        moderation.flagged("hello")
    assert caught.value.code == "moderation_missing" and "lilims-ui[moderation]" in (caught.value.hint or "")
    moderation._classifier.cache_clear()


@installed
def test_one_offensive_sentence_among_many_is_found() -> None:
    calm = "The weather was lovely and we walked along the river for an hour. " * 40
    assert not moderation.flagged(calm)
    assert moderation.flagged(calm + "You stupid fucking idiot. " + calm)
    assert moderation.flagged("You **stup**id fuck*ing* idiot.")


@installed
def test_precision_and_recall_are_those_of_the_document() -> None:
    """docs/web-chat.md has the figures; tools/moderation_quality.py prints them."""
    lines = (Path(__file__).parent / "moderation_set.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    truth = [row["offensive"] for row in rows]
    found = [moderation.flagged(row["text"]) for row in rows]
    hits = sum(1 for t, f in zip(truth, found, strict=True) if t and f)
    assert len(rows) == 200 and sum(truth) == 100
    assert round(hits / sum(found), 3) == 0.932, "precision"
    assert round(hits / sum(truth), 3) == 0.69, "recall"


def test_the_package_is_looked_for() -> None:
    assert moderation.available() == (importlib.util.find_spec("profanity_check") is not None)
