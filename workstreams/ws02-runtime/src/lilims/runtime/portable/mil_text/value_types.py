"""Types of MIL's text, as ValueType messages.

Knows how types are written. Must not know values.
"""

from __future__ import annotations

from typing import Any

from ..spec import MIL_DTYPES, new_message
from .scanner import NUMBER, TENSOR, Scanner

__all__ = ["TypeReader"]

_CODES = {name: code for code, name in MIL_DTYPES.items()}
_MAX_DEPTH = 16  # of types within types
_MAX_RANK = 16
_MAX_SIZE = (1 << 63) - 1
_MAX_TYPES = 1 << 16  # kept; a program has some hundred


class TypeReader:
    """Reads types; one that was written before is taken as it was read then, so what is given is not to be changed."""

    def __init__(self, scanner: Scanner) -> None:
        self.scanner = scanner
        self._known: dict[str, Any] = {}

    def read(self, word: str | None = None, depth: int = 0) -> Any:
        """The type that comes next, as a ValueType message; its first word is given where that is taken already."""
        scanner = self.scanner
        known = self._known.get(scanner.text if word is None else word)
        if known is not None:
            if word is None:
                scanner.advance()
            return known
        if word is None:
            if scanner.kind == TENSOR:
                return self._tensor(scanner.text)
            word = scanner.name()
        if word in _CODES:
            return self._remember(word, _scalar(word))
        if depth == _MAX_DEPTH:
            raise scanner.error("types are nested too deep")
        if word == "tensor":
            raise scanner.error("a tensor's type is not of the form tensor<fp16, [1, 2]>")
        if word not in ("state", "list", "tuple", "dict"):
            raise scanner.error(f"{word[:40]!r} is no type that is known here")
        scanner.take("<")
        type_ = new_message("ValueType")
        getattr(self, f"_{word}")(type_, depth + 1)
        scanner.take(">")
        return type_

    def _remember(self, text: str, type_: Any) -> Any:
        if len(self._known) < _MAX_TYPES:
            self._known[text] = type_
        return type_

    def _tensor(self, text: str) -> Any:
        """A tensor's type from its one token: `tensor<fp16, [1, ?]>`."""
        scanner = self.scanner
        head, _, rest = text.partition("[")
        dtype = head.partition("<")[2].strip(" \t\r\n,")
        if dtype not in _CODES:
            raise scanner.error(f"{dtype[:40]!r} is no element type that is known here")
        inside = rest.rpartition("]")[0].strip()
        sizes = inside.split(",") if inside else []
        if len(sizes) > _MAX_RANK:
            raise scanner.error(f"a tensor has {len(sizes)} dimensions")
        type_ = new_message("ValueType")
        type_.tensorType.dataType, type_.tensorType.rank = _CODES[dtype], len(sizes)
        for size in sizes:
            self._dimension(type_.tensorType.dimensions.add(), size.strip())
        scanner.advance()
        return self._remember(text, type_)

    def _dimension(self, into: Any, size: str) -> None:
        """A number, `?`, or the name of a size that is not known either."""
        if size == "?" or size.isidentifier():
            into.unknown.variadic = False
        elif size.isdecimal() and size.isascii() and len(size) < 20 and int(size) <= _MAX_SIZE:
            into.constant.size = int(size)
        else:
            raise self.scanner.error(f"{size[:40]!r} is no size of a dimension")

    def _state(self, into: Any, depth: int) -> None:
        into.stateType.wrappedType.CopyFrom(self.read(None, depth))

    def _list(self, into: Any, depth: int) -> None:
        into.listType.type.CopyFrom(self.read(None, depth))
        self.scanner.take(",")
        if self.scanner.kind != NUMBER and self.scanner.text != "?":
            raise self.scanner.expected("the length of a list")
        self._dimension(into.listType.length, self.scanner.text)
        self.scanner.advance()

    def _tuple(self, into: Any, depth: int) -> None:
        into.tupleType.SetInParent()
        while self.scanner.text != ">":
            into.tupleType.types.add().CopyFrom(self.read(None, depth))
            if not self.scanner.found(","):
                break

    def _dict(self, into: Any, depth: int) -> None:
        into.dictionaryType.keyType.CopyFrom(self.read(None, depth))
        self.scanner.take(",")
        into.dictionaryType.valueType.CopyFrom(self.read(None, depth))


def _scalar(dtype: str) -> Any:
    type_ = new_message("ValueType")
    type_.tensorType.dataType = _CODES[dtype]
    return type_
