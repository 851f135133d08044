"""YAML from strangers: a small, plain part of the language, with the line of every value.

Plain scalars are whole numbers, true, false, null or text, as in YAML 1.2's core schema (`no` is text). Refused, with
file and line: anchors and aliases, tags, directives, several documents, keys that stand twice or are not text, more
than 64 kB, 5,000 values or 12 levels. Values are built from parser events, so no constructor of the library ever runs.
Knows YAML. Must not know what a document means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import InputError

__all__ = ["Document", "parse"]

MAX_BYTES = 64 << 10
MAX_EVENTS = 10_000  # start and end of a container count as one each
MAX_DEPTH = 12
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same events, ten times faster

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A document's value and the line (from 1) on which each part of it begins."""

    value: Any
    lines: dict[Path_, int]

    def line(self, path: Path_) -> int:
        """The line of the value at `path`, or of the innermost container of it that exists."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


@dataclass
class _Open:
    """A container that is being read."""

    path: Path_
    value: Any
    key: str | None = None

    def place(self) -> Path_:
        return (*self.path, len(self.value) if isinstance(self.value, list) else self.key or "")

    def add(self, item: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(item)
        else:
            self.value[self.key] = item
            self.key = None


def parse(data: bytes, where: str | Path, error: type[InputError] = InputError) -> Document:
    """Reads one document.

    Raises:
        InputError: (or `error`) with `where:line` and what is refused.
    """
    if len(data) > MAX_BYTES:
        raise error(f"larger than {MAX_BYTES} bytes", where=f"{where}:1", hint="a page of text is enough")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        raise error("not UTF-8", where=f"{where}:{line}") from exc
    try:
        return _build(yaml.parse(text, Loader=_LOADER), where, error)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = mark.line + 1 if mark else 1
        raise error(f"not valid YAML: {exc.problem or exc.context}", where=f"{where}:{line}") from exc
    except yaml.reader.ReaderError as exc:
        line = text[: exc.position].count("\n") + 1
        raise error("holds a control character", where=f"{where}:{line}") from exc


def _build(events: Iterator[Any], where: str | Path, error: type[InputError]) -> Document:
    lines: dict[Path_, int] = {}
    stack: list[_Open] = []
    roots: list[Any] = []
    for count, event in enumerate(events):
        line = event.start_mark.line + 1
        if problem := _refusal(event, count, len(stack), documents=len(roots)):
            raise error(problem, where=f"{where}:{line}")
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            stack.pop()
            continue
        if not isinstance(event, (yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            continue
        top = stack[-1] if stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            top.key = _key(event, top.value, f"{where}:{line}", error)
            lines[top.place()] = line
            continue
        path = top.place() if top else ()
        lines.setdefault(path, line)
        value = _scalar(event) if isinstance(event, yaml.ScalarEvent) else {} if _is_mapping(event) else []
        if top is None:
            roots.append(value)
        else:
            top.add(value)
        if not isinstance(event, yaml.ScalarEvent):
            stack.append(_Open(path, value))
    if not roots:
        raise error("is empty", where=f"{where}:1")
    return Document(roots[0], lines)


def _is_mapping(event: Any) -> bool:
    return isinstance(event, yaml.MappingStartEvent)


def _refusal(event: Any, count: int, depth: int, documents: int) -> str | None:
    """Why an event is not taken, or None."""
    if count > MAX_EVENTS:
        return f"holds more than {MAX_EVENTS // 2} values"
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        return "anchors and aliases are not allowed: write the value out"
    if getattr(event, "tag", None):
        return f"the tag {event.tag!r} is not allowed: values are text, whole numbers, true, false, null"
    if isinstance(event, yaml.DocumentStartEvent):
        if documents:
            return "a second document begins: one document a file"
        if event.version or event.tags:
            return "directives (%YAML, %TAG) are not allowed"
    if depth >= MAX_DEPTH and isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
        return f"nested deeper than {MAX_DEPTH} levels"
    return None


def _key(event: Any, seen: dict[str, Any], where: str, error: type[InputError]) -> str:
    if not isinstance(event, yaml.ScalarEvent):
        raise error("a key must be text", where=where)
    if event.value in seen:
        raise error(f"the key {event.value!r} stands twice", where=where)
    return str(event.value)


def _scalar(event: Any) -> Any:
    if not event.style:  # plain: neither quoted nor a block (libyaml says "")
        if event.value in _WORDS:
            return _WORDS[event.value]
        if _INTEGER.fullmatch(event.value):
            return int(event.value)
    return event.value
