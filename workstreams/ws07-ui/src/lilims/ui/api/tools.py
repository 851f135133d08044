"""Tools: how a model is told of them, what a forced call has to be, and calls found in what it says.

Knows the families of `lilims.tokenizer` and one grammar. Must not know HTTP, nor of templates more than their words.

A forced call is text of a grammar: `{"name": "…", "arguments": {…}}`, with the arguments that the function's JSON
schema allows, between the family's tags where it has some. So it is valid whatever the model would rather say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lilims.tokenizer import ToolCall, ToolCallParser
from lilims.tokenizer.chat.tool_calls import Family

from .requests import ChatRequest, NamedTool, Tool

__all__ = ["ForcedCall", "FoundCalls", "Piece", "call_grammar", "describe", "family_of", "tools_of"]

Piece = str | tuple[str, str] | ToolCall
"""Text; or, of a call being written, ("name", its name) and then ("arguments", a part of them); or a whole call."""

_FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_ABOUT = (
    "You may call functions. They are, one JSON object a line:\n<tools>\n{tools}\n</tools>\n"
    "To call one, answer with a JSON object inside tags:\n"
    '<tool_call>\n{{"name": NAME, "arguments": {{...}}}}\n</tool_call>'
)


def tools_of(request: ChatRequest) -> list[Tool]:
    """The tools that this request may call: none, all, or the one that it names."""
    if request.tool_choice == "none":
        return []
    tools = request.tools or []
    if isinstance(request.tool_choice, NamedTool):
        return [tool for tool in tools if tool.function.name == request.tool_choice.function.name]
    return tools


def family_of(template: str) -> Family:
    """The family in which a model writes calls, by its chat template."""
    if "[TOOL_CALLS]" in template:
        return "mistral"
    if "<tool_call>" not in template and ("<|python_tag|>" in template or "ipython" in template):
        return "llama3"
    return "hermes"


def describe(messages: list[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the tools told in words, for a template that does not tell them."""
    about = _ABOUT.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    first = messages[0]
    if first["role"] == "system":
        return [{**first, "content": f"{first['content']}\n\n{about}"}, *messages[1:]]
    return [{"role": "system", "content": about}, *messages]


def call_grammar(tools: Sequence[Tool], family: Family, answer: Mapping[str, Any] | bool | None = None) -> str:
    """A grammar (Lark, as `lilims.runtime.constrained.grammar` takes it) of one call of one of the tools.

    Args:
        answer: JSON that this schema allows may stand instead of a call.
    """
    before, after = _tags(family)
    starts = [f"call{i}" for i in range(len(tools))]
    rules = []
    if isinstance(answer, Mapping):
        starts.append("answer")
        rules.append(f"answer: %json {json.dumps({**answer, 'x-guidance': _FORM})}")
    rules.insert(0, f"start: {' | '.join(starts)}")
    for i, tool in enumerate(tools):
        schema = {**_closed(tool.function.parameters or _NOTHING), "x-guidance": _FORM}
        head = json.dumps(before + _head(tool.function.name))
        rules += [f"call{i}: {head} args{i} {json.dumps('}' + after)}", f"args{i}: %json {json.dumps(schema)}"]
    return "\n".join(rules)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without arguments that it does not name, where it leaves that open: a function could not take them."""
    if "properties" in schema and not {"additionalProperties", "patternProperties", "$ref", "allOf"} & set(schema):
        return {**schema, "additionalProperties": False}
    return schema


def _head(name: str) -> str:
    return f'{{"name": {json.dumps(name)}, "arguments": '


def _tags(family: Family) -> tuple[str, str]:
    return ("<tool_call>\n", "\n</tool_call>") if family == "hermes" else ("", "")


class ForcedCall:
    """Takes a forced call in pieces, and gives its name and its arguments as they come."""

    def __init__(self, family: Family) -> None:
        self._before, after = _tags(family)
        self._tail = "}" + after
        self._held = self._told = ""
        self._inside = False

    def push(self, text: str) -> list[Piece]:
        """What `text` settles."""
        self._held += text
        found: list[Piece] = []
        if not self._inside:
            opening, marker, rest = self._held.partition(', "arguments": ')
            if not marker:
                return found
            name = json.loads(opening.removeprefix(self._before) + "}")["name"]
            found.append(("name", name))
            self._held, self._inside = rest, True
        sure = len(self._held) - len(self._tail)
        if sure > 0:
            found.append(("arguments", self._held[:sure]))
            self._told += self._held[:sure]
            self._held = self._held[sure:]
        return found

    def finish(self) -> list[Piece]:
        """What is left; one that was cut off has arguments that are."""
        if not self._inside:
            return []
        whole = self._told + self._held
        try:
            end = json.JSONDecoder().raw_decode(whole)[1]
        except (ValueError, RecursionError):
            end = len(whole)
        rest = whole[len(self._told) : end]
        return [("arguments", rest)] if rest else []


class FoundCalls:
    """Takes an answer in pieces, and gives its text and the calls in it."""

    def __init__(self, family: Family) -> None:
        self._parser = ToolCallParser(family)

    def push(self, text: str) -> list[Piece]:
        return list(self._parser.push(text))

    def finish(self) -> list[Piece]:
        return list(self._parser.finish())
