"""Reasoning apart from text, however an answer is cut into pieces."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.tokenizer import ReasoningSplitter, ReasoningTags
from lilims.tokenizer.chat.reasoning import TAGS, Channel

from .test_chat_templates import render, source

THINK = TAGS[0]


def whole(text: str, tags: ReasoningTags = THINK, *, inside: bool = False) -> dict[Channel, str]:
    """What the rules say of a whole answer."""
    opened = re.match(rf"\s*{re.escape(tags.opening)}", text)
    if opened is None and not inside:
        return {"text": text}
    thought, closing, rest = (text if inside else text[opened.end() if opened else 0 :]).partition(tags.closing)
    thought = thought.lstrip()
    found: dict[Channel, str] = {"reasoning": thought.rstrip() if closing else thought, "text": rest.lstrip()}
    return {channel: said for channel, said in found.items() if said}


def split(pieces: list[str], tags: ReasoningTags = THINK, *, inside: bool = False) -> dict[Channel, str]:
    splitter = ReasoningSplitter(tags, inside=inside)
    found: dict[Channel, str] = {}
    pairs = [pair for piece in pieces for pair in splitter.push(piece)] + splitter.finish()
    for channel, text in pairs:
        assert text
        assert channel == "text" or "text" not in found  # reasoning comes first
        found[channel] = found.get(channel, "") + text
    return found


CASES = {
    "reasoning": ("<think>\nsum it\n</think>\n\nTwo.", {"reasoning": "sum it", "text": "Two."}),
    "empty": ("<think>\n\n</think>\n\nTwo.", {"text": "Two."}),
    "none": ("Two.", {"text": "Two."}),
    "space before": (" \n<think>a</think>b", {"reasoning": "a", "text": "b"}),
    "not closed": ("<think>a b ", {"reasoning": "a b "}),
    "later": ("I say <think>a</think>.", {"text": "I say <think>a</think>."}),
    "twice": ("<think>a</think>b<think>c</think>", {"reasoning": "a", "text": "b<think>c</think>"}),
    "another tag": ("<thought>a</thought>b", {"text": "<thought>a</thought>b"}),
    "part of a tag": ("<thin", {"text": "<thin"}),
    "part of a closing tag": ("<think>a</thi", {"reasoning": "a</thi"}),
    "inner space": ("<think>a \n b</think> c d ", {"reasoning": "a \n b", "text": "c d "}),
    "a tag inside": ("<think>a<think>b</think>c", {"reasoning": "a<think>b", "text": "c"}),
    "nothing": ("", {}),
    "space": (" ", {"text": " "}),
}


@pytest.mark.parametrize("name", CASES)
def test_an_answer(name: str) -> None:
    text, expected = CASES[name]
    assert split([text]) == expected
    assert split(list(text)) == expected
    assert whole(text) == expected or name in ("nothing",)


def test_an_answer_to_a_prompt_that_opened_reasoning() -> None:
    assert split(["\nsum it\n</think>\n\nTwo."], inside=True) == {"reasoning": "sum it", "text": "Two."}
    assert split(list("no end"), inside=True) == {"reasoning": "no end"}


PARTS = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<",
        ">",
        "</",
        "think",
        "<th",
        "ink>",
        "</thi",
        "nk>",
        " ",
        "\n",
        "a",
        "ä🙂",
        "[THINK]",
        "[/THINK]",
    ]
)


@given(st.lists(PARTS, max_size=12), st.booleans(), st.data())
def test_every_split_is_the_whole(parts: list[str], inside: bool, data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    for tags in (THINK, TAGS[2]):
        expected = {channel: said for channel, said in whole(text, tags, inside=inside).items() if said}
        assert split(pieces, tags, inside=inside) == expected
        assert split(list(text), tags, inside=inside) == expected


def test_text_comes_at_once() -> None:
    splitter = ReasoningSplitter()
    assert splitter.push("<think>why") == [("reasoning", "why")]
    assert splitter.push(" not ") == [("reasoning", " not")]
    assert splitter.push("<") == []  # a closing tag may come, and take the space before it
    assert splitter.push("b") == [("reasoning", " <b")]
    assert splitter.push("</think>\n\nYes") == [("text", "Yes")]
    assert splitter.push(" <think>") == [("text", " <think>")]


@pytest.mark.parametrize(
    ("name", "thinks"),
    [
        ("qwen3", True), ("deepseek_r1_distill", True), ("smollm3", True), ("exaone4", True), ("qwq", True),
        ("llama3", False), ("gemma3", False), ("command_r7b_tool_use", True),
    ],
)  # fmt: skip
def test_the_tags_of_a_template(name: str, thinks: bool) -> None:
    tags = ReasoningTags.of(source(name))
    assert (tags is not None) == thinks
    if name.startswith("command"):
        assert tags == ReasoningTags("<|START_THINKING|>", "<|END_THINKING|>")


@pytest.mark.parametrize(
    ("name", "given", "opened"),
    [
        pytest.param("qwen3", {}, False, id="Qwen3 opens itself"),
        pytest.param("qwen3", {"enable_thinking": False}, False, id="Qwen3 that shall not"),
        pytest.param("qwq", {}, True, id="QwQ"),
        pytest.param("deepseek_r1_distill", {}, True, id="DeepSeek"),
        pytest.param("exaone4", {"enable_thinking": True}, True, id="EXAONE 4"),
        pytest.param("exaone4", {}, False, id="EXAONE 4 that shall not"),
    ],
)
def test_whether_a_prompt_opened_reasoning(name: str, given: dict[str, bool], opened: bool) -> None:
    prompt = render(source(name), {"messages": [{"role": "user", "content": "Why? <think>"}], **given})
    assert prompt is not None
    assert THINK.opened_by(prompt) == opened
