"""Calls in what models say: recorded texts, cut anywhere; and the grammar of calls that are forced."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lilims.tokenizer import ToolCall
from lilims.tokenizer.chat.tool_calls import Family
from lilims.ui.api.requests import ChatRequest, Function, Tool
from lilims.ui.api.tools import ForcedCall, FoundCalls, call_grammar, describe, family_of

from ..helpers import stories

HERMES = 'I look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
LLAMA = '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Bonn"}}'
MISTRAL = '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Bonn"}, "id": "abcdefghi"}]'
RECORDED: list[tuple[Family, str, str, str | None]] = [
    ("hermes", HERMES, "I look.\n", None),
    ("llama3", LLAMA, "", None),
    ("mistral", MISTRAL, "", "abcdefghi"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "text", "said", "known"), RECORDED, ids=[one[0] for one in RECORDED])
@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 120), max_size=6))
def test_recorded_answers(family: Family, text: str, said: str, known: str | None, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    parser = FoundCalls(family)
    found: list[Any] = []
    for start, stop in itertools.pairwise(places):
        found += parser.push(text[start:stop])
    found += parser.finish()
    assert "".join(one for one in found if isinstance(one, str)) == said
    assert [one for one in found if not isinstance(one, str)] == [ToolCall("get_weather", {"city": "Bonn"}, known)]


@pytest.mark.parametrize("family", ["hermes", "llama3", "mistral"])
@settings(deadline=None)
@given(data=st.data(), arguments=st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=3))
def test_a_forced_call_is_told_as_it_comes(family: Family, data: st.DataObject, arguments: dict[str, Any]) -> None:
    written = json.dumps(arguments)
    text = f'{{"name": "f.x-1", "arguments": {written}}}'
    text = f"<tool_call>\n{text}\n</tool_call>" if family == "hermes" else text
    parser, found, at = ForcedCall(family), [], 0
    while at < len(text):
        size = data.draw(st.integers(1, 20))
        found += parser.push(text[at : at + size])
        at += size
    found += parser.finish()
    assert found[0] == ("name", "f.x-1") and {kind for kind, _ in found[1:]} == {"arguments"}
    assert "".join(part for _, part in found[1:]) == written


@pytest.mark.parametrize(("cut", "told"), [(3, None), (20, None), (42, '{"a'), (46, '{"a": 1'), (52, '{"a": 1}')])
def test_a_forced_call_that_is_cut_off_tells_what_there_is(cut: int, told: str | None) -> None:
    text = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    parser = ForcedCall("hermes")
    found = [*parser.push(text[:cut]), *parser.finish()]
    parts = [part for kind, part in found if kind == "arguments"]
    assert ("".join(parts) if parts else None) == told


@pytest.mark.parametrize(
    ("template", "family"),
    [("… <tool_call> …", "hermes"), ("[TOOL_CALLS]", "mistral"), ("<|python_tag|>", "llama3"), ("ipython", "llama3"),
     ("", "hermes")],
)  # fmt: skip
def test_families(template: str, family: str) -> None:
    assert family_of(template) == family


def test_the_grammar_takes_a_call_of_each_tool_and_nothing_else() -> None:
    from lilims.runtime.constrained import grammar

    tokenizer = stories().tokenizer
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [1, 22]}},
        "required": ["n"],
    }
    tools = [Tool(type="function", function=Function(name=name, parameters=schema)) for name in ("a", "b_c")]

    def takes(text: str, answer: Any = None) -> bool:
        made = grammar(call_grammar(tools, "hermes", answer), tokenizer)
        ids = tokenizer.encode(text, add_special_tokens=False)
        if made.acceptable(ids) < len(ids):
            return False
        for token in ids:
            made.accept(token)
        return made.can_stop

    form = '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>'
    assert not takes('{"ok": true}')
    assert takes('{"ok": true}', {"type": "object", "properties": {"ok": {"type": "boolean"}}})
    assert takes(form.format("a", '{"n": 1}'), {"type": "object"}) and not takes("[]", {"type": "object"})
    assert takes(form.format("a", '{"n": 1}')) and takes(form.format("b_c", '{"n": 22}'))
    assert not takes(form.format("d", '{"n": 1}')) and not takes(form.format("a", '{"n": 2}'))
    assert not takes(form.format("a", '{"n": 1, "m": 2}')), "a function takes no arguments that it does not name"
    assert not takes(form.format("a", "{}")) and not takes("Hello")


def test_tools_are_told_in_words_where_the_template_has_none() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    (first, second) = describe([{"role": "user", "content": "x"}], tools)
    assert first["role"] == "system" and json.dumps(tools[0]) in first["content"] and second["role"] == "user"
    (only,) = describe([{"role": "system", "content": "Be kind."}], tools)
    assert only["content"].startswith("Be kind.") and "<tool_call>" in only["content"]


def test_templates_get_content_as_text_and_arguments_as_objects() -> None:
    from lilims.ui.api.messages import template_messages

    asked = ChatRequest.model_validate({"messages": [
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "reasoning_content": "hm", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": [1]}'}},
            {"id": "2", "type": "function", "function": {"name": "f", "arguments": "{broken"}}]},
    ]})  # fmt: skip
    first, second = template_messages(asked.messages)
    assert first == {"role": "system", "content": "ab"}
    assert second["content"] == "" and second["reasoning_content"] == "hm"
    assert [call["function"]["arguments"] for call in second["tool_calls"]] == [{"x": [1]}, "{broken"]
