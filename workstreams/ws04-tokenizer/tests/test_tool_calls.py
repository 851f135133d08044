"""Calls of tools as three families write them; texts from the models' documentation and their templates' examples."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.core.errors import UsageError
from lilims.tokenizer import ToolCall, ToolCallParser, parse_tool_calls
from lilims.tokenizer.chat.tool_calls import FAMILIES, Family

TSLA = ToolCall("get_stock_fundamentals", {"symbol": "TSLA"})
PARIS = {"location": "Paris, France", "format": "celsius"}

CASES: dict[str, tuple[Family, str, str, list[ToolCall]]] = {
    "Hermes 2 Pro": (
        "hermes",
        '<tool_call>\n{"arguments": {"symbol": "TSLA"}, "name": "get_stock_fundamentals"}\n</tool_call>',
        "",
        [TSLA],
    ),
    "Qwen2.5": (
        "hermes",
        '<tool_call>\n{"name": "get_current_temperature", "arguments": {"location": "San Francisco, CA, USA"}}'
        '\n</tool_call>\n<tool_call>\n{"name": "get_temperature_date", "arguments": '
        '{"location": "San Francisco, CA, USA", "date": "2024-10-01"}}\n</tool_call>',
        "",
        [
            ToolCall("get_current_temperature", {"location": "San Francisco, CA, USA"}),
            ToolCall("get_temperature_date", {"location": "San Francisco, CA, USA", "date": "2024-10-01"}),
        ],
    ),
    "text before": (
        "hermes",
        'I will look.\n<tool_call>{"name": "a", "arguments": {}}</tool_call>',
        "I will look.",
        [ToolCall("a")],
    ),
    "arguments as text": (
        "hermes",
        '<tool_call>{"name": "a", "arguments": "{\\"b\\": 1}"}</tool_call>',
        "",
        [ToolCall("a", {"b": 1})],
    ),
    "a tag in an argument": (
        "hermes",
        '<tool_call>{"name": "a", "arguments": {"b": "</tool_call>"}}</tool_call> done',
        "done",
        [ToolCall("a", {"b": "</tool_call>"})],
    ),
    "a bad one, then a good one": (
        "hermes",
        '<tool_call>{"name": }</tool_call><tool_call>{"name": "a", "arguments": {}}</tool_call>',
        '<tool_call>{"name": }</tool_call>',
        [ToolCall("a")],
    ),
    "Llama 3.1": (
        "llama3",
        '{"name": "get_current_conditions", "parameters": {"location": "San Francisco, CA", "unit": "Fahrenheit"}}',
        "",
        [ToolCall("get_current_conditions", {"location": "San Francisco, CA", "unit": "Fahrenheit"})],
    ),
    "Llama 3.1 behind a tag": (
        "llama3",
        '<|python_tag|>{"type": "function", "name": "trending_songs", "parameters": {"n": "10", "genre": "all"}}',
        "",
        [ToolCall("trending_songs", {"n": "10", "genre": "all"})],
    ),
    "Llama 3, two": (
        "llama3",
        '{"name": "a", "parameters": {"b": 1}}; {"name": "c", "parameters": {}}',
        "",
        [ToolCall("a", {"b": 1}), ToolCall("c")],
    ),
    "Mistral v3": (
        "mistral",
        '[TOOL_CALLS] [{"name": "get_current_weather", '
        '"arguments": {"location": "Paris, France", "format": "celsius"}, "id": "VvvODy9mT"}]',
        "",
        [ToolCall("get_current_weather", PARIS, "VvvODy9mT")],
    ),
    "Mistral, two": (
        "mistral",
        'Sure.[TOOL_CALLS][{"name": "a", "arguments": {}}, {"name": "b", "arguments": {"c": [1]}, "id": "123456789"}]',
        "Sure.",
        [ToolCall("a"), ToolCall("b", {"c": [1]}, "123456789")],
    ),
    "Mistral v11": (
        "mistral",
        '[TOOL_CALLS]get_weather[CALL_ID]bbc5b7ede[ARGS]{"city": "Paris"}[TOOL_CALLS]add[ARGS]{"a": 1}',
        "",
        [ToolCall("get_weather", {"city": "Paris"}, "bbc5b7ede"), ToolCall("add", {"a": 1})],
    ),
    "Mistral v13": ("mistral", '[TOOL_CALLS]add{"a": 1}', "", [ToolCall("add", {"a": 1})]),
}

TEXTS: dict[str, tuple[Family, str]] = {
    "no call": ("hermes", "The answer is 4 < 5."),
    "no end": ("hermes", '<tool_call>{"name": "a", "arguments": {}}'),
    "not JSON": ("hermes", "<tool_call>a(1)</tool_call> well"),
    "no name": ("hermes", '<tool_call>{"arguments": {}}</tool_call>'),
    "arguments that are none": ("hermes", '<tool_call>{"name": "a", "arguments": [1]}</tool_call>'),
    "half a tag": ("hermes", "a <tool_c"),
    "deep": ("hermes", "<tool_call>" + "[" * 5000 + "</tool_call>"),
    "JSON that is an answer": ("llama3", '{"answer": 4}'),
    "JSON that calls nothing": ("llama3", '{"name": "Ada", "age": 36} is she'),
    "a call with words": ("llama3", 'Call {"name": "a", "parameters": {}}'),
    "code": ("llama3", '<|python_tag|>brave_search.call(query="x")'),
    "a list that is cut": ("mistral", '[TOOL_CALLS][{"name": "a", "arguments": {'),
    "words behind the marker": ("mistral", "[TOOL_CALLS] I cannot."),
    "a list with a stranger": ("mistral", '[TOOL_CALLS][{"name": "a", "arguments": {}}, 3]'),
    "words behind the arguments": ("mistral", '[TOOL_CALLS]a[ARGS]{"b": 1} and more'),
}


@pytest.mark.parametrize("name", CASES)
def test_calls(name: str) -> None:
    family, text, said, calls = CASES[name]
    assert parse_tool_calls(text, family) == (said, calls)
    assert streamed(list(text), family) == streamed([text], family)


@pytest.mark.parametrize("name", TEXTS)
def test_text(name: str) -> None:
    family, text = TEXTS[name]
    assert parse_tool_calls(text, family) == (text, [])
    assert streamed(list(text), family) == [text]


def streamed(pieces: list[str], family: Family) -> list[Any]:
    """Texts and calls in order, texts beside each other joined."""
    parser = ToolCallParser(family)
    found: list[Any] = []
    for one in [one for piece in pieces for one in parser.push(piece)] + parser.finish():
        if isinstance(one, str) and found and isinstance(found[-1], str):
            found[-1] += one
        else:
            found.append(one)
    return found


PARTS = st.sampled_from(
    ["<tool_call>", "</tool_call>", '{"name": "a", "arguments": {}}', '{"name": "b"', ', "parameters": {"c": "d"}}',
     "text", "[TOOL_CALLS]", "[", "]", "add[ARGS]", '{"e": 1}', "<tool_", "call>", "; ", "\n", "<|python_tag|>", "{",
     "}", '"', "<"]
)  # fmt: skip


@given(st.lists(PARTS, max_size=10), st.data())
def test_every_split_is_the_whole(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    for family in FAMILIES:
        found = streamed(pieces, family)
        assert found == streamed([text], family)
        if not any(isinstance(one, ToolCall) for one in found):
            assert "".join(found) == text


def test_text_comes_at_once() -> None:
    parser = ToolCallParser("hermes")
    assert parser.push("a <") == ["a "]
    assert parser.push("b> ") == ["<b> "]
    assert parser.push("<tool_call>") == [] == parser.push('{"name": "a", ')
    assert parser.push('"arguments": {}}</tool_call> c') == [ToolCall("a"), " c"]
    assert ToolCallParser("llama3").push("The") == ["The"]
    assert ToolCallParser("llama3").push('{"answer') == ['{"answer']


def test_a_call_without_end_is_let_go() -> None:
    parser = ToolCallParser("hermes")
    parser.push('<tool_call>{"name": "')
    assert sum(len(one) for _ in range(40) for one in parser.push("x" * 10_000) if isinstance(one, str)) > 390_000


def test_a_family_that_is_none() -> None:
    with pytest.raises(UsageError, match="no family 'gpt'"):
        parse_tool_calls("x", "gpt")  # type: ignore[arg-type]
