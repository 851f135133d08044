"""A chat template: messages in, the prompt that a model was trained on out.

Knows what a template is given (as transformers gives it) and what it may take. Must not know token ids.
Source: `_compile_jinja_template` and `render_jinja_template` of transformers' utils/chat_template_utils.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Environment, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from ..errors import ChatTemplateError
from .budget import Budget, size_of
from .statements import Renderer
from .text import literal
from .values import Function, Namespace, Operations

__all__ = ["ChatTemplate"]

_LARGEST = 40_000  # characters; jinja2 parses any in half a second, and published templates have up to 20,000
_ROLES = frozenset(
    ("system", "user", "assistant", "tool", "developer", "function", "ipython", "model", "environment", "documents")
)
_REASONING = ("reasoning_content", "thinking", "reasoning")
_DATE_FORMAT = re.compile(r"(%[-#]?[A-Za-z]|%%|[^%])*")
_FAILURES = (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError)


class _Generation(Extension):
    """`{% generation %}`, which marks for training what a model wrote, and prints as if it were not there."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's declaration

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class ChatTemplate:
    """A parsed template. `render` may be called from several threads."""

    def __init__(
        self,
        source: str,
        *,
        tokens: Mapping[str, str] | None = None,
        where: str | None = None,
        tool_use: ChatTemplate | None = None,
        stops: Sequence[str] = (),
    ) -> None:
        """Parses `source`.

        Args:
            tokens: names and texts of special tokens (`bos_token`, …) that the template may name.
            where: the file that it comes from, for errors.
            tool_use: the template that takes its place where there are tools.
            stops: strings at which an answer ends, for a template without tokens for that.

        Raises:
            ChatTemplateError: too long, or not Jinja.
        """
        self.source = source
        self.stops = tuple(stops)
        self._tool_use = tool_use
        self._where = where or "chat template"
        self._tokens = {name: literal(text) for name, text in (tokens or {}).items()}
        if len(source) > _LARGEST:
            raise ChatTemplateError(f"has {len(source)} characters; at most {_LARGEST} are read", where=self._where)
        environment = Environment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"], cache_size=0
        )
        try:
            self._tree = _marked(environment.parse(source))
        except _FAILURES as exc:
            line = f":{exc.lineno}" if isinstance(exc, TemplateSyntaxError) else ""
            raise ChatTemplateError(f"not a Jinja template: {_words(exc)}", where=f"{self._where}{line}") from None

    @classmethod
    def of(cls, found: Mapping[str, tuple[str, Path]], tokens: Mapping[str, str]) -> ChatTemplate | None:
        """The template of a model that has those by name: "default", and "tool_use" in its place where there are tools.

        Raises:
            ChatTemplateError: a template is not Jinja, or there are several and none of them is the default.
        """
        parsed: dict[str, ChatTemplate] = {}
        for name in ("tool_use", "default"):
            if name in found:
                text, path = found[name]
                parsed[name] = cls(text, tokens=tokens, where=str(path), tool_use=parsed.get("tool_use"))
        if found and "default" not in parsed:
            path = next(path for _, path in found.values())
            raise ChatTemplateError(f"has templates, but no default: {', '.join(sorted(found))}", where=path)
        return parsed.get("default")

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        now: datetime | None = None,
        **kwargs: Any,
    ) -> str:
        """The prompt, as transformers' `apply_chat_template(messages, tokenize=False)` gives it.

        Args:
            messages: dicts with `role` and `content`, and what else the template looks at: `tool_calls`,
                `tool_call_id`, `name`, `reasoning_content` (also as `thinking` or `reasoning`).
            tools: JSON schemas of functions, `{"type": "function", "function": {…}}`.
            add_generation_prompt: end where the assistant begins to speak.
            now: the time that `strftime_now` takes; the present one by default.
            kwargs: variables of the template: `enable_thinking`, `documents`, `date_string`, …

        Raises:
            ChatTemplateError: the template refuses the messages (its own words), fails, or wants more steps or text
                than it may have.
        """
        marked = self.render_marked(
            messages, tools=tools, add_generation_prompt=add_generation_prompt, now=now, **kwargs
        )
        return str.__str__(marked)

    def render_marked(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        now: datetime | None = None,
        **kwargs: Any,
    ) -> str:
        """As `render`; the text says which spans of it are the template's own (`text.own`)."""
        if tools is not None and self._tool_use is not None:
            return self._tool_use.render_marked(
                messages, tools=tools, add_generation_prompt=add_generation_prompt, now=now, **kwargs
            )
        if not messages:
            raise ChatTemplateError("no messages", where=self._where, hint="give one at least")
        values, characters = size_of([*messages, tools, kwargs])
        given = {
            "messages": [_message(message) for message in messages],
            "tools": None if tools is None else [_plain(tool) for tool in tools],
            "documents": None,
            **{name: _plain(value) for name, value in kwargs.items()},
        }
        budget = Budget(values, characters + len(self.source))
        names = {**self._tokens, "add_generation_prompt": add_generation_prompt, **given}
        renderer = Renderer(budget, names)
        renderer.scope.names = {**_functions(renderer.operations, now), **renderer.scope.names}
        try:
            return renderer.render(self._tree)
        except ChatTemplateError as exc:
            exc.where = exc.where or f"{self._where}:{renderer.line}"
            raise
        except _FAILURES as exc:
            raise ChatTemplateError(
                f"the template fails: {_words(exc)}", where=f"{self._where}:{renderer.line}"
            ) from exc


def _marked(tree: nodes.Template) -> nodes.Template:
    """The tree with its own words marked as such."""
    for constant in tree.find_all(nodes.Const):
        constant.value = literal(constant.value) if isinstance(constant.value, str) else constant.value
    for data in tree.find_all(nodes.TemplateData):
        data.data = literal(data.data)
    return tree


def _words(exc: BaseException) -> str:
    if isinstance(exc, RecursionError):
        return "it is nested too deep"
    return f"{exc}" if isinstance(exc, TemplateError) else f"{type(exc).__name__}: {exc}"


def _plain(value: Any) -> Any:
    """`value` with mappings as dicts and sequences as lists; strings without marks or other additions."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _message(message: Mapping[str, Any]) -> Any:
    """A message as templates read it: a known role counts as the template's own word, as in `'<|' + role + '|>'`."""
    if not isinstance(message, Mapping):
        raise ChatTemplateError(f"a message is a mapping with role and content, not {type(message).__name__}")
    plain = {name: value for name, value in _plain(message).items() if value is not None}
    reasoning = next((plain[key] for key in _REASONING if plain.get(key) is not None), None)
    if reasoning is not None:
        plain = {"thinking": reasoning, **plain, "reasoning_content": reasoning}
    role = plain.get("role")
    return {**plain, "role": literal(role)} if isinstance(role, str) and role in _ROLES else plain


def _functions(do: Operations, now: datetime | None) -> dict[str, Any]:
    """What a template may call: Jinja's own and transformers' `raise_exception` and `strftime_now`."""

    def numbers(*bounds: int) -> range:
        found = range(*bounds)
        if len(found) > 1 << 20 or any(abs(bound) > 1 << 40 for bound in bounds):
            raise ChatTemplateError("range has too many numbers")
        return found

    def refuse(message: Any = "") -> NoReturn:
        raise ChatTemplateError(f"the template refuses these messages: {do.text(message)}", hint="change the messages")

    def strftime_now(form: str) -> str:
        if len(form) > 200 or not _DATE_FORMAT.fullmatch(form):
            raise ChatTemplateError("strftime_now takes a short format without widths")
        return (now or datetime.now()).strftime(form)

    def mapping(*args: Any, **kwargs: Any) -> dict[Any, Any]:
        do.budget.whole([*args])
        return dict(*args, **kwargs)

    calls: dict[str, Callable[..., Any]] = {
        "range": numbers,
        "raise_exception": refuse,
        "strftime_now": strftime_now,
        "dict": mapping,
        "namespace": lambda *args, **kwargs: Namespace(mapping(*args, **kwargs)),
    }
    return {name: Function(name, call) for name, call in calls.items()}
