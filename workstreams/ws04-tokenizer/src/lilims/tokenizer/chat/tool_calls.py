"""Calls of tools in what a model says.

Knows how three families write them. Must not know tools or templates. What looks like a call and is none is text.

    hermes   <tool_call>{"name": …, "arguments": {…}}</tool_call>, as often as it likes (Hermes 2 Pro and 3, Qwen2.5,
             Qwen3, SmolLM3, EXAONE 4)
    llama3   {"name": …, "parameters": {…}} and nothing else, perhaps behind <|python_tag|>; several are separated by ;
    mistral  [TOOL_CALLS][{"name": …, "arguments": {…}, "id": …}, …] at the end, since tokenizer v11
             [TOOL_CALLS]name[ARGS]{…} for each

Sources: the models' chat templates, and Meta's and Mistral's documentation of tool calling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from lilims.core.errors import UsageError

from .tags import partial

__all__ = ["FAMILIES", "Family", "ToolCall", "ToolCallParser", "parse_tool_calls"]

Family = Literal["hermes", "llama3", "mistral"]
FAMILIES: tuple[Family, ...] = ("hermes", "llama3", "mistral")
_LONGEST = 1 << 18  # characters that may wait for their end
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_PYTHON = "<|python_tag|>"
_MISTRAL = "[TOOL_CALLS]"
_FIRST_KEYS = ('"name"', '"type"', '"function"', '"parameters"', '"arguments"')
_NAMED = re.compile(r"\s*([\w.-]{1,256})(?:\[CALL_ID\](\w{1,64}))?(?:\[ARGS\])?\s*(?=\{)")


@dataclass(frozen=True)
class ToolCall:
    """A call: the function's name and its arguments by name; the id where the model gives one."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


def parse_tool_calls(text: str, family: Family) -> tuple[str, list[ToolCall]]:
    """What a model says without its calls, and the calls.

    Raises:
        UsageError: no such family.
    """
    parser = ToolCallParser(family)
    found = [*parser.push(text), *parser.finish()]
    said = "".join(one for one in found if isinstance(one, str))
    calls = [one for one in found if isinstance(one, ToolCall)]
    return (said.strip() if calls else said), calls


class ToolCallParser:
    """Takes an answer in pieces; gives text that is certainly none of a call, and whole calls, in order."""

    def __init__(self, family: Family) -> None:
        """Raises: UsageError: no such family."""
        steps: dict[str, Callable[[bool], list[str | ToolCall]]] = {
            "hermes": self._hermes,
            "llama3": self._llama3,
            "mistral": self._mistral,
        }
        if family not in steps:
            raise UsageError(f"there is no family {family!r} of tool calls", hint=f"one of {', '.join(steps)}")
        self._step = steps[family]
        self._held = ""
        self._plain = False  # the rest is text, whatever it looks like

    def push(self, piece: str) -> list[str | ToolCall]:
        """What `piece` settles, perhaps nothing; no text is empty."""
        self._held += piece
        found = self._rest() if self._plain else self._step(False)
        if len(self._held) > _LONGEST:
            found += self._rest()
            self._plain = True
        return [one for one in found if one != ""]

    def finish(self) -> list[str | ToolCall]:
        """What is left. The parser is used up."""
        found = self._rest() if self._plain else self._step(True)
        self._plain = True
        return [one for one in found if one != ""]

    def _rest(self) -> list[str | ToolCall]:
        rest, self._held = self._held, ""
        return [rest]

    def _hermes(self, ended: bool) -> list[str | ToolCall]:
        found: list[str | ToolCall] = []
        while True:
            before, opening, body = self._held.partition(_OPEN)
            if not opening:
                keep = 0 if ended else partial(self._held, [_OPEN])
                found.append(self._held[: len(self._held) - keep])
                self._held = self._held[len(self._held) - keep :]
                return found
            end, call = _closed(body)
            if call is not None:
                found += [before, call]
                self._held = body[end:]
            elif _OPEN in body[end:] or ended:  # this one will not become a call any more
                found.append(before + opening)
                self._held = body
            else:
                found.append(before)
                self._held = opening + body
                return found

    def _llama3(self, ended: bool) -> list[str | ToolCall]:
        """The whole answer is calls or none of it is."""
        bare = self._held.lstrip()
        if not _may_be_llama3(bare):
            self._plain = True
            return self._rest()
        if not ended:
            return []
        calls = _objects(bare.removeprefix(_PYTHON).rstrip())
        if calls is None:
            return self._rest()
        self._held = ""
        return [*calls]

    def _mistral(self, ended: bool) -> list[str | ToolCall]:
        before, marker, body = self._held.partition(_MISTRAL)
        if not marker:
            keep = 0 if ended else partial(self._held, [_MISTRAL])
            self._held = self._held[len(before) - keep :] if keep else ""
            return [before[: len(before) - keep]]
        self._held = marker + body
        if not ended:
            return [before]
        calls = _listed(body)
        if calls is None:
            calls = _named(body)
        if calls is None:
            return [before, *self._rest()]
        self._held = ""
        return [before, *calls]


def _closed(body: str) -> tuple[int, ToolCall | None]:
    """A call that ends with a closing tag, and where; or how far there is none. The tag may stand in an argument."""
    at = 0
    while (stop := body.find(_CLOSE, at)) >= 0:
        try:
            call = _call(json.loads(body[:stop]))
        except (ValueError, RecursionError):
            call = None
        at = stop + len(_CLOSE)
        if call is not None:
            return at, call
        if _OPEN in body[:stop]:
            break
    return at, None


def _call(value: Any) -> ToolCall | None:
    if not isinstance(value, dict):
        return None
    value = value.get("function") if isinstance(value.get("function"), dict) else value
    name = value.get("name", value.get("function"))
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    known = value.get("id")
    return ToolCall(name, arguments, known if isinstance(known, str) else None)


def _may_be_llama3(text: str) -> bool:
    """Whether an answer that begins so can be calls."""
    if _PYTHON.startswith(text):
        return True
    text = text.removeprefix(_PYTHON).lstrip()
    if not text:
        return True
    key = text[1:].lstrip()
    return text[0] == "{" and any(key.startswith(first) or first.startswith(key) for first in _FIRST_KEYS)


def _objects(text: str) -> list[ToolCall] | None:
    """Calls behind one another, separated by ; or white space; None where anything else stands there."""
    decoder = json.JSONDecoder()
    calls: list[ToolCall] = []
    at = 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        call = _call(value)
        if call is None:
            return None
        calls.append(call)
        at += len(text[at:]) - len(text[at:].lstrip("; \n\t\r"))
    return calls or None


def _listed(text: str) -> list[ToolCall] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    calls = [_call(one) for one in value] if isinstance(value, list) else [None]
    return [call for call in calls if call] if calls and all(calls) else None


def _named(text: str) -> list[ToolCall] | None:
    decoder = json.JSONDecoder()
    calls: list[ToolCall] = []
    for part in text.split(_MISTRAL):
        match = _NAMED.match(part)
        if match is None:
            return None
        try:
            arguments, end = decoder.raw_decode(part, match.end())
        except (ValueError, RecursionError):
            return None
        if part[end:].strip():
            return None
        calls.append(ToolCall(match[1], arguments, match[2]))
    return calls
