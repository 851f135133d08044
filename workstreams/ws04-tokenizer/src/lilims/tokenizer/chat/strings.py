"""The methods that strings have in a template.

Knows which ones there are, what each may cost, and how their results keep the marks of `Text`. Must not know syntax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ChatTemplateError
from .budget import Budget
from .text import cut, join, replace, split, strip

__all__ = ["Methods"]

_PLAIN = (
    "upper", "lower", "title", "capitalize", "swapcase", "casefold", "find", "index", "count",
    "isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower", "isnumeric", "isdecimal", "istitle", "isascii",
    "partition",
)  # fmt: skip
_FREE = ("startswith", "endswith")  # as long as what they look for
_BACKWARDS = ("rfind", "rindex", "rsplit", "rpartition")  # CPython searches these in n · m steps
_PADDING = ("ljust", "rjust", "center", "zfill")
_FIELD = re.compile(r"\{\{|\}\}|\{(\w*)\}|[{}]")
_WORD = re.compile(r"\S+")
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_PERCENT = re.compile(r"%%|%([sdi])|%")


class Methods:
    """Methods of strings by name, paid from a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def get(self, text: str, name: str) -> Callable[..., Any] | None:
        """The method of that name bound to `text`, or None."""
        marked = getattr(self, f"_{name}", None) if name in _MARKED else None
        if marked is None and name not in _PLAIN + _FREE + _BACKWARDS + _PADDING:
            return None

        def call(*args: Any, **kwargs: Any) -> Any:
            if name in _PADDING:
                self._budget.text(max(args[0], 0) if args and isinstance(args[0], int) else 0)
            if name in _BACKWARDS and args and isinstance(args[0], str):
                self._budget.text(len(text) * len(args[0]))
            self._budget.text(0 if name in _FREE else len(text))
            return marked(text, *args, **kwargs) if marked else getattr(str, name)(text, *args, **kwargs)

        return call

    def _strip(self, text: str, characters: str | None = None) -> str:
        return strip(text, characters)

    def _lstrip(self, text: str, characters: str | None = None) -> str:
        return strip(text, characters, right=False)

    def _rstrip(self, text: str, characters: str | None = None) -> str:
        return strip(text, characters, left=False)

    def _removeprefix(self, text: str, prefix: str) -> str:
        return join(split(text, prefix, 1)[1:]) if prefix and text.startswith(prefix) else text

    def _removesuffix(self, text: str, suffix: str) -> str:
        return cut(text, 0, len(text) - len(suffix)) if suffix and text.endswith(suffix) else text

    def _split(self, text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
        if sep is not None:
            self._budget.step(str.count(text, sep) if sep else 0)
            return split(text, sep, maxsplit)
        pieces: list[str] = []
        for match in _WORD.finditer(text):
            self._budget.step()
            if len(pieces) == maxsplit:
                return [*pieces, cut(text, match.start(), len(text))]
            pieces.append(cut(text, *match.span()))
        return pieces

    def _splitlines(self, text: str, keepends: bool = False) -> list[str]:
        return self.lines(text, keepends)

    def lines(self, text: str, keepends: bool = False) -> list[str]:
        """`text.splitlines(keepends)`."""
        self._budget.step(sum(map(text.count, _LINE_ENDS)))
        return str.splitlines(text, keepends)

    def _replace(self, text: str, old: str, new: str, count: int = -1) -> str:
        found = (str.count(text, old) if count < 0 else min(count, str.count(text, old))) if old else len(text) + 1
        self._budget.step(found)
        self._budget.text(found * len(new))
        return replace(text, old, new, count)

    def _join(self, text: str, parts: Iterable[Any]) -> str:
        parts = list(parts)
        if not all(isinstance(part, str) for part in parts):
            raise TypeError("join takes strings")
        self._budget.step(len(parts))
        self._budget.text(sum(map(len, parts)) + len(text) * max(len(parts) - 1, 0))
        return join(one for n, part in enumerate(parts) for one in ((text, part) if n else (part,)))

    def _format(self, text: str, *args: Any, **kwargs: Any) -> str:
        """Fields are `{}`, `{0}` and `{name}`: no attributes, no widths."""
        if any(not isinstance(value, (str, int, float)) for value in [*args, *kwargs.values()]):
            raise ChatTemplateError("format takes strings and numbers in a template")
        unnamed = list(args)

        def field(match: re.Match[str]) -> str:
            if match[0] in ("{{", "}}"):
                return match[0][0]
            name = match[1]
            if name is None:
                raise ChatTemplateError("format takes {}, {0} and {name} alone in a template")
            value = str(unnamed.pop(0) if not name else args[int(name)] if name.isdecimal() else kwargs[name])
            self._budget.text(len(value))
            return value

        return _FIELD.sub(field, text)

    def percent(self, text: str, values: Any, printed: Callable[[Any], str]) -> str:
        """`text % values`, with %s and %d alone."""
        self._budget.text(len(text))
        rest = list(values) if isinstance(values, tuple) else [values]

        def field(match: re.Match[str]) -> str:
            if match[0] == "%%":
                return "%"
            if match[1] is None:
                raise ChatTemplateError("% takes %s and %d alone in a template")
            value = printed(rest.pop(0))
            self._budget.text(len(value))
            return value

        return _PERCENT.sub(field, text)


_MARKED = (
    "strip",
    "lstrip",
    "rstrip",
    "removeprefix",
    "removesuffix",
    "split",
    "splitlines",
    "replace",
    "join",
    "format",
)
