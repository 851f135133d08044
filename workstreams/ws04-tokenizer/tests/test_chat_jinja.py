"""The language of templates, against jinja2's own sandbox with transformers' settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError, Undefined, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lilims.tokenizer import ChatTemplate, ChatTemplateError

NAMES: dict[str, Any] = {
    "n": 7,
    "x": -2.5,
    "s": " Héllo, Wörld <b>\n two  lines ",
    "e": "",
    "yes": True,
    "nothing": None,
    "zero": 0,
    "two": 2,
    "ab": "ab",
    "empty": [],
    "l": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "d": {"b": 1, "a": [1, 2], "items": "mine"},
    "rows": [{"k": "x", "v": 1}, {"k": "y", "v": 2}, {"k": "x", "v": 3}],
}
FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)


class Generation(Extension):
    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def jinja(source: str) -> str | None:
    """jinja2's rendering, None where it fails."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda x, **kwargs: json.dumps(x, **{"ensure_ascii": False, **kwargs})
    given = {"messages": [{"role": "user", "content": "Hi"}], "tools": None, "add_generation_prompt": True, **NAMES}
    try:
        return environment.from_string(source).render(**given)
    except FAILURES:
        return None


def ours(source: str) -> str | None:
    try:
        return ChatTemplate(source).render([{"role": "user", "content": "Hi"}], **NAMES)
    except ChatTemplateError:
        return None


SNIPPETS: list[str] = json.loads((Path(__file__).parent / "data" / "jinja_snippets.json").read_text("utf-8"))


@pytest.mark.parametrize("source", SNIPPETS)
def test_a_snippet(source: str) -> None:
    assert ours(source) == jinja(source)


def test_most_snippets_render() -> None:
    assert sum(jinja(source) is not None for source in SNIPPETS) == len(SNIPPETS) - 15


ATOMS = st.sampled_from(  # names alone: jinja2 folds constants when it compiles, and says so where they cannot be
    ["n", "x", "s", "e", "yes", "nothing", "l", "words", "d", "rows", "ab", "zero", "two", "empty", "missing"]
)
WRAPS = st.sampled_from(
    ["({} + {})", "({} ~ {})", "({} * 2, {})", "({} == {})", "({} in {})", "[{}, {}]", "({} and {})", "({} or not {})",
     "({} if {} else n)", "({} < {})", "({} - {})", "{{'k': {}, 'j': {}}}", "({} | default({}))", "{}[{}]"]
)  # fmt: skip
AFTER = st.sampled_from(
    ["", " | string", " | list", " | length", " | tojson", " | trim", "[0]", "[1:]", "[::-1]", ".k", " | first",
     " | last", " is string", " is mapping", " is iterable", " | join('-')", " | reverse | list", " | upper", " | sort",
     " is defined", " | int", " | unique | list", " | map('string') | list", " | select('string') | list",
     " | replace('a', 'b')"]
)  # fmt: skip


@st.composite
def expressions(draw: st.DrawFn) -> str:
    def one(depth: int) -> str:
        if depth == 0 or draw(st.booleans()):
            return draw(ATOMS)
        text = draw(WRAPS).format(one(depth - 1), one(depth - 1))
        return f"({text}{draw(AFTER)})"

    return one(3)


@given(st.lists(expressions(), min_size=1, max_size=3))
def test_an_expression(parts: list[str]) -> None:
    for part in parts:
        source = f"{{{{ {part} }}}}"
        assert ours(source) == jinja(source), source


def test_undefined_is_jinjas() -> None:
    """What templates do with a name that is not there rests on jinja2's own class."""
    assert str(Undefined()) == "" and not Undefined() and list(Undefined()) == []
