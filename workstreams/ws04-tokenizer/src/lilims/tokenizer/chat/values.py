"""What values of a template can do: attributes, methods, operators.

Knows Python's values and what Jinja makes of them; every operation is granted by a budget before it allocates, and
only what is written here exists: there is no way from a value to Python's own attributes. Must not know syntax.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError

from ..errors import ChatTemplateError
from . import strings
from .budget import Budget
from .text import cut, join

__all__ = ["Function", "Loop", "Namespace", "Operations"]

_LARGEST = 1 << 256  # of whole numbers


@dataclass(frozen=True)
class Function:
    """Something that a template may call."""

    name: str
    call: Callable[..., Any]

    def __repr__(self) -> str:
        return f"<function {self.name}>"


class Namespace:
    """`namespace(…)`: the one value that a template can change."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names: dict[str, Any] = {}
        for name, value in names.items():
            self.set(name, value)

    def set(self, name: str, value: Any) -> None:
        """Raises: ChatTemplateError: the name begins with an underscore, which transformers refuses too."""
        if not isinstance(name, str) or name.startswith("_"):
            raise ChatTemplateError(f"a namespace takes no name like {name!r}")
        self.names[name] = value

    def __repr__(self) -> str:
        return "<Namespace>"


class Loop:
    """`loop` inside a `for`."""

    def __init__(self, items: list[Any], depth: int, again: Callable[[Any], str] | None, budget: Budget) -> None:
        self._items = items
        self._budget = budget
        self._again = again
        self._seen: Any = ()
        self.index0 = -1
        self.depth0 = depth

    def __repr__(self) -> str:
        return f"<LoopContext {self.index0 + 1}/{len(self._items)}>"

    def get(self, name: str) -> Any:
        """The attribute of that name; `Undefined` where there is none."""
        i, count = self.index0, len(self._items)
        simple = {"index": i + 1, "index0": i, "first": i == 0, "last": i == count - 1, "length": count}
        simple |= {"revindex": count - i, "revindex0": count - i - 1, "depth0": self.depth0, "depth": self.depth0 + 1}
        if name in simple:
            return simple[name]
        if name == "previtem":
            return self._items[i - 1] if i else Undefined("there is no previous item")
        if name == "nextitem":
            return self._items[i + 1] if i + 1 < count else Undefined("there is no next item")
        if name == "cycle":
            return Function("cycle", lambda *values: values[i % len(values)])
        if name == "changed":
            return Function("changed", self._changed)
        return Undefined(obj=self, name=name)

    def _changed(self, *values: Any) -> bool:
        self._budget.whole(values)
        before, self._seen = self._seen, values
        return bool(before != values)

    def again(self, items: Any) -> str:
        """`loop(…)` of a recursive loop."""
        if self._again is None:
            raise ChatTemplateError("loop(…) stands in a loop that is not recursive")
        return self._again(items)


class Operations:
    """Operators and attributes, paid from one budget."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._methods = strings.Methods(budget)

    def attribute(self, value: Any, name: str) -> Any:
        """`value.name`: a method, else an item."""
        found = self._method(value, name)
        return self._named(value, name) if found is None else found

    def item(self, value: Any, key: Any) -> Any:
        """`value[key]`: an item, else a method."""
        if isinstance(value, Undefined):
            return value[key]  # raises UndefinedError
        if not isinstance(key, (str, int)):
            self.budget.whole(key)  # it is hashed, and perhaps printed
        try:
            if isinstance(value, str):
                i = operator.index(key)
                return cut(value, range(len(value))[i], range(len(value))[i] + 1)
            if isinstance(value, (list, tuple, range, dict)):
                return value[key]
        except (LookupError, TypeError):
            pass
        found = self._method(value, key) if isinstance(key, str) else None
        if found is not None:
            return found
        return value.get(key) if isinstance(value, Loop) else self._named(value, key)

    def _named(self, value: Any, name: Any) -> Any:
        if isinstance(value, Undefined):
            return value[name]  # raises UndefinedError
        if isinstance(value, dict) and isinstance(name, str) and name in value:
            return value[name]
        if isinstance(value, Loop):
            return value.get(name)
        if isinstance(value, Namespace) and name in value.names:
            return value.names[name]
        if isinstance(name, str) and hasattr(type(value), name):
            return Undefined(f"{name!r} of {type(value).__name__} is not for templates", exc=SecurityError)
        return Undefined(obj=value, name=name)

    def _method(self, value: Any, name: str) -> Function | None:
        if isinstance(value, str):
            call = self._methods.get(value, name)
        elif isinstance(value, dict):
            call = self._dict_method(value, name)
        elif isinstance(value, (list, tuple)) and name in ("index", "count"):
            call = self._list_method(value, name)
        else:
            return None
        return None if call is None else Function(name, call)

    def _dict_method(self, value: dict[Any, Any], name: str) -> Callable[..., Any] | None:
        if name == "get":

            def get(key: Any, default: Any = None) -> Any:
                self.budget.whole(key)
                return value.get(key, default)

            return get
        if name not in ("items", "keys", "values", "copy"):
            return None

        def call() -> Any:
            self.budget.step(len(value))
            return value.copy() if name == "copy" else list(getattr(value, name)())

        return call

    def _list_method(self, value: list[Any] | tuple[Any, ...], name: str) -> Callable[[Any], int]:
        def call(item: Any) -> int:
            self.budget.whole([value, item])
            found: int = value.count(item) if name == "count" else value.index(item)
            return found

        return call

    def slice(self, value: Any, bounds: slice) -> Any:
        """`value[start:stop:step]`."""
        if isinstance(value, str):
            start, stop, step = bounds.indices(len(value))
            self.budget.text(len(value))
            return cut(value, start, max(start, stop)) if step == 1 else str.__getitem__(value, bounds)
        if isinstance(value, (list, tuple, range)):
            self.budget.step(len(value))
            return value[bounds]
        if isinstance(value, Undefined):
            return value[0]  # raises UndefinedError
        raise TypeError(f"{type(value).__name__} has no slices")

    def lines(self, text: str) -> list[str]:
        """`text.splitlines()`."""
        return self._methods.lines(text)

    def concat(self, parts: list[str]) -> str:
        """Strings behind one another."""
        self.budget.text(sum(map(len, parts)))
        return join(parts)

    def text(self, value: Any) -> str:
        """What is printed of a value."""
        if isinstance(value, str):
            return value
        self.budget.whole(value, weight=10)  # \U0001f600
        return str(value)

    def binary(self, name: str, left: Any, right: Any) -> Any:
        """One of + - * / // % **."""
        if name == "+" and isinstance(left, str) and isinstance(right, str):
            return self.concat([left, right])
        if name == "+" and isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
            self.budget.step(len(left) + len(right))
        elif name == "*" and (isinstance(left, (str, list, tuple)) or isinstance(right, (str, list, tuple))):
            return self._repeat(left, right)
        elif name == "%" and isinstance(left, str):
            return self._methods.percent(left, right, self.text)
        elif name == "**" and not (_within(left, 1 << 32) and _within(right, 64)):
            raise ChatTemplateError("a power in the template is too large")
        result = _BINARY[name](left, right)
        if isinstance(result, int) and not -_LARGEST < result < _LARGEST:
            raise ChatTemplateError("a number in the template is too large")
        return result

    def _repeat(self, left: Any, right: Any) -> Any:
        value, count = (left, right) if isinstance(left, (str, list, tuple)) else (right, left)
        times = max(operator.index(count), 0)
        if isinstance(value, str):
            self.budget.step(times if value else 0)
            self.budget.text(len(value) * times)
            return join([value] * times) if value else ""
        self.budget.step(len(value) * times)
        return value * times

    def compare(self, name: str, left: Any, right: Any) -> bool:
        """One of eq ne lt lteq gt gteq in notin."""
        if isinstance(left, (list, tuple, dict)) or isinstance(right, (list, tuple, dict)):
            self.budget.whole(left)
            if name not in ("in", "notin") or not isinstance(right, Mapping):
                self.budget.whole(right)
        elif name in ("in", "notin") and isinstance(right, (str, range)):
            self.budget.text(len(right))
        elif isinstance(left, str) and isinstance(right, str):
            self.budget.text(min(len(left), len(right)) // 64)
        return bool(_COMPARE[name](left, right))


def _within(value: Any, bound: int) -> bool:
    return isinstance(value, (int, float)) and -bound <= value <= bound


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}
