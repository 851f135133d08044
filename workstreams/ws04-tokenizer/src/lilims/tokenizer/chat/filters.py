"""Jinja's filters and tests, those that chat templates use.

Knows what each does to a value (https://jinja.palletsprojects.com/en/stable/templates/#builtin-filters; `tojson` is
transformers'). Must not know syntax.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import Undefined
from jinja2.tests import TESTS as JINJA_TESTS

from ..errors import ChatTemplateError
from .text import cut, strip
from .values import Function, Loop, Operations

__all__ = ["Filters"]

_UNSET: Any = object()
_SIMPLE_TESTS = (
    "boolean", "defined", "divisibleby", "even", "false", "float", "integer", "iterable", "mapping", "none", "number",
    "odd", "sameas", "sequence", "string", "true", "undefined",
)  # fmt: skip
_COMPARISONS = {
    "eq": "eq", "==": "eq", "equalto": "eq", "ne": "ne", "!=": "ne", "lt": "lt", "<": "lt", "lessthan": "lt",
    "le": "lteq", "<=": "lteq", "gt": "gt", ">": "gt", "greaterthan": "gt", "ge": "gteq", ">=": "gteq", "in": "in",
}  # fmt: skip
_HTML = str.maketrans({"&": "&amp;", ">": "&gt;", "<": "&lt;", "'": "&#39;", '"': "&#34;"})


class Filters:
    """Filters and tests by name, over the operations of one rendering."""

    def __init__(self, operations: Operations) -> None:
        self._do = operations
        self._budget = operations.budget

    def filter(self, name: str, value: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """`value | name(args)`.

        Raises:
            ChatTemplateError: there is no such filter here.
        """
        call = _FILTERS.get(name)
        if call is None:
            raise ChatTemplateError(f"the filter {name!r} is not one that lilims has", hint=_hint(_FILTERS))
        return call(self, value, *args, **kwargs)

    def test(self, name: str, value: Any, args: list[Any]) -> bool:
        """`value is name(args)`.

        Raises:
            ChatTemplateError: there is no such test here.
        """
        if name in _COMPARISONS:
            return self._do.compare(_COMPARISONS[name], value, *args)
        if name == "callable":
            return isinstance(value, (Function, Loop, Undefined))  # an undefined value can be called, and then fails
        if name in ("lower", "upper"):
            text = self._do.text(value)
            self._budget.text(len(text))
            return text.islower() if name == "lower" else text.isupper()
        if name not in _SIMPLE_TESTS:
            raise ChatTemplateError(f"the test {name!r} is not one that lilims has", hint=_hint(_SIMPLE_TESTS))
        test: Any = JINJA_TESTS[name]
        return bool(test(value, *args))

    def items(self, value: Any) -> list[Any]:
        """What a `for` goes through.

        Raises:
            TypeError: nothing to go through.
        """
        if isinstance(value, str):
            self._budget.step(len(value))
            return [cut(value, i, i + 1) for i in range(len(value))]
        if not isinstance(value, (list, tuple, dict, range, Undefined)):
            raise TypeError(f"{type(value).__name__} is not iterable")
        self._budget.step(0 if isinstance(value, Undefined) else len(value))
        return list(value)

    def _key(self, attribute: Any, default: Any = _UNSET) -> Callable[[Any], Any]:
        """What `map(attribute="a.b.0")` takes of an item."""
        names = str(attribute).split(".") if isinstance(attribute, str) else [attribute]

        def get(item: Any) -> Any:
            for name in names:
                item = self._do.item(item, int(name) if isinstance(name, str) and name.isdecimal() else name)
                if isinstance(item, Undefined) and default is not _UNSET:
                    item = default
            return item

        return get

    def _caseless(self, value: Any, case_sensitive: bool) -> Any:
        return value.lower() if isinstance(value, str) and not case_sensitive else value

    def _trim(self, value: Any, chars: str | None = None) -> str:
        text = self._do.text(value)
        self._budget.text(len(text))
        return strip(text, chars)

    def _replace(self, value: Any, old: Any, new: Any, count: int = -1) -> str:
        method = self._do.attribute(self._do.text(value), "replace")
        replaced: str = method.call(self._do.text(old), self._do.text(new), -1 if count is None else count)
        return replaced

    def _join(self, value: Any, d: str = "", attribute: Any = None) -> str:
        get = self._key(attribute) if attribute is not None else None
        parts = [self._do.text(get(item) if get else item) for item in self.items(value)]
        d = self._do.text(d)
        return self._do.concat([one for n, part in enumerate(parts) for one in ((d, part) if n else (part,))])

    def _default(self, value: Any, default_value: Any = "", boolean: bool = False) -> Any:
        return default_value if isinstance(value, Undefined) or (boolean and not value) else value

    def _length(self, value: Any) -> int:
        return len(value)

    def _tojson(
        self, x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        if not (indent is None or (isinstance(indent, int) and indent <= 16)):
            raise ChatTemplateError("tojson takes an indent of 16 at most")
        if any(not isinstance(text, str) or len(text) > 16 for text in separators or ()):
            raise ChatTemplateError("tojson takes no separators as long as these")
        steps = self._budget.steps
        self._budget.whole(x, weight=12)  # \ud83d\ude00
        values = 2 * (steps - self._budget.steps)
        self._budget.text(values * (32 if indent is None else 32 + 8 * max(indent, 0)))
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def _list(self, value: Any) -> list[Any]:
        return self.items(value)

    def _first(self, value: Any) -> Any:
        found = self.items(value)
        return found[0] if found else Undefined("No first item, sequence was empty.")

    def _last(self, value: Any) -> Any:
        found = self.items(value)
        return found[-1] if found else Undefined("No last item, sequence was empty.")

    def _reverse(self, value: Any) -> Any:
        if not isinstance(value, str):
            return self.items(value)[::-1]
        self._budget.text(len(value))
        return value[::-1]

    def _items(self, value: Any) -> list[Any]:
        if isinstance(value, Undefined):
            return []
        if not isinstance(value, dict):
            raise TypeError("Can only get item pairs from a mapping.")
        self._budget.step(len(value))
        return list(value.items())

    def _dictsort(self, value: Any, case_sensitive: bool = False, by: str = "key", reverse: bool = False) -> list[Any]:
        place = 1 if by == "value" else 0
        self._sorting(value)
        return sorted(
            self._items(value), key=lambda item: self._caseless(item[place], case_sensitive), reverse=bool(reverse)
        )

    def _sorting(self, value: Any) -> None:
        """Pays for a sort: every item is compared about as often as a logarithm says."""
        for _ in range(len(value).bit_length() if not isinstance(value, Undefined) else 0):
            self._budget.whole(value)

    def _sort(
        self, value: Any, reverse: bool = False, case_sensitive: bool = False, attribute: Any = None
    ) -> list[Any]:
        get = self._key(attribute) if attribute is not None else None
        items = self.items(value)
        self._sorting(items)
        key = [self._caseless(get(item) if get else item, case_sensitive) for item in items]
        order = sorted(range(len(items)), key=key.__getitem__, reverse=bool(reverse))
        return [items[i] for i in order]

    def _unique(self, value: Any, case_sensitive: bool = False, attribute: Any = None) -> list[Any]:
        get = self._key(attribute) if attribute is not None else None
        found: dict[Any, Any] = {}
        self._budget.whole(value)
        for item in self.items(value):
            found.setdefault(self._caseless(get(item) if get else item, case_sensitive), item)
        return list(found.values())

    def _extreme(self, value: Any, pick: Callable[..., Any], case_sensitive: bool, attribute: Any) -> Any:
        get = self._key(attribute) if attribute is not None else None
        items = self.items(value)
        self._budget.whole(items)
        if not items:
            return Undefined("No aggregated item, sequence was empty.")
        return pick(items, key=lambda item: self._caseless(get(item) if get else item, case_sensitive))

    def _min(self, value: Any, case_sensitive: bool = False, attribute: Any = None) -> Any:
        return self._extreme(value, min, case_sensitive, attribute)

    def _max(self, value: Any, case_sensitive: bool = False, attribute: Any = None) -> Any:
        return self._extreme(value, max, case_sensitive, attribute)

    def _sum(self, value: Any, attribute: Any = None, start: Any = 0) -> Any:
        get = self._key(attribute) if attribute is not None else None
        for item in self.items(value):
            start = self._do.binary("+", start, get(item) if get else item)
        return start

    def _int(self, value: Any, default: int = 0, base: int = 10) -> int:
        self._budget.text(len(value) if isinstance(value, str) else 0)
        try:
            return int(value, base) if isinstance(value, str) else int(value)
        except (TypeError, ValueError, OverflowError):
            try:
                return int(float(value))
            except (TypeError, ValueError, OverflowError):
                return default

    def _float(self, value: Any, default: float = 0.0) -> float:
        self._budget.text(len(value) if isinstance(value, str) else 0)
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            return default

    def _round(self, value: Any, precision: int = 0, method: str = "common") -> Any:
        if method != "common" or not -32 <= precision <= 32:
            raise ChatTemplateError("round takes a precision of 32 at most and the method 'common'")
        return round(value, precision)

    def _abs(self, value: Any) -> Any:
        return abs(value)

    def _map(self, value: Any, *args: Any, attribute: Any = _UNSET, default: Any = _UNSET, **kwargs: Any) -> list[Any]:
        if attribute is not _UNSET:
            get = self._key(attribute, default)
        else:
            name, rest = self._do.text(args[0]), list(args[1:])

            def get(item: Any) -> Any:
                return self.filter(name, item, rest, kwargs)

        return [get(item) for item in self.items(value or [])]

    def _chosen(self, value: Any, get: Callable[[Any], Any] | None, test: tuple[Any, ...], keep: bool) -> list[Any]:
        found = []
        for item in self.items(value or []):
            seen = get(item) if get else item
            if (self.test(self._do.text(test[0]), seen, list(test[1:])) if test else bool(seen)) == keep:
                found.append(item)
        return found

    def _select(self, value: Any, *test: Any) -> list[Any]:
        return self._chosen(value, None, test, True)

    def _reject(self, value: Any, *test: Any) -> list[Any]:
        return self._chosen(value, None, test, False)

    def _selectattr(self, value: Any, attribute: Any, *test: Any) -> list[Any]:
        return self._chosen(value, self._key(attribute), test, True)

    def _rejectattr(self, value: Any, attribute: Any, *test: Any) -> list[Any]:
        return self._chosen(value, self._key(attribute), test, False)

    def _indent(self, value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        margin = literal_spaces(width)
        text = self._do.text(value)
        lines = self._do.lines(text + "\n")
        self._budget.text(len(text) + len(margin) * len(lines))
        if blank:
            indented = ("\n" + margin).join(lines)
        else:
            indented = "\n".join([lines[0], *(margin + line if line else line for line in lines[1:])])
        return margin + indented if first else indented

    def _string(self, value: Any) -> str:
        return self._do.text(value)

    def _escape(self, value: Any) -> str:
        text = self._do.text(value)
        self._budget.text(6 * len(text))
        return str.translate(text, _HTML)

    def _case(self, value: Any, name: str) -> Any:
        return self._do.attribute(self._do.text(value), name).call()

    def _title(self, value: Any) -> str:
        """A capital behind every space, hyphen and opening bracket, as Jinja has it."""
        out, begins = [], True
        text = self._do.text(value)
        self._budget.step(len(text))
        for character in text:
            out.append(character.upper() if begins else character.lower())
            begins = character.isspace() or character in "-({[<"
        return "".join(out)

    def _batch(self, value: Any, linecount: int, fill_with: Any = None) -> list[Any]:
        items = self.items(value)
        rows = [items[i : i + linecount] for i in range(0, len(items), linecount)]
        if fill_with is not None and rows:
            self._budget.step(linecount)
            rows[-1] += [fill_with] * (linecount - len(rows[-1]))
        return rows


def literal_spaces(width: int | str) -> str:
    """The margin of `indent`."""
    if isinstance(width, str) and len(width) <= 64:
        return str(width)
    if isinstance(width, int) and width <= 64:
        return " " * width
    raise ChatTemplateError("indent takes a width of 64 at most")


def _hint(names: Iterable[str]) -> str:
    return f"it has {', '.join(sorted(names))}"


_FILTERS: dict[str, Callable[..., Any]] = {
    name.removeprefix("_"): getattr(Filters, name)
    for name in (
        "_trim", "_replace", "_join", "_default", "_length", "_tojson", "_list", "_first", "_last", "_reverse",
        "_items", "_dictsort", "_sort", "_unique", "_min", "_max", "_sum", "_int", "_float", "_round", "_abs", "_map",
        "_select", "_reject", "_selectattr", "_rejectattr", "_indent", "_string", "_escape", "_title", "_batch",
    )
}  # fmt: skip
_FILTERS |= {
    "d": Filters._default,
    "count": Filters._length,
    "e": Filters._escape,
    "safe": Filters._string,
    "upper": lambda self, value: self._case(value, "upper"),
    "lower": lambda self, value: self._case(value, "lower"),
    "capitalize": lambda self, value: self._case(value, "capitalize"),
}
