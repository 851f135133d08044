"""Text that remembers which part of it the template wrote.

Knows strings. A `Text` marks the stretches that come from the template's own words; what came from messages, or went
through an operation that is not here, is unmarked. So a mark can get lost, but never be gained: a special token that
somebody put into a message, or that falls together of two of them, is never taken for the template's.
Must not know Jinja or tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

__all__ = ["Span", "Text", "cut", "join", "literal", "own", "replace", "split", "strip"]

Span = tuple[int, int]


class Text(str):
    """A string and the spans of it, in order, apart and not empty, that are the template's own."""

    __slots__ = ("spans",)
    spans: tuple[Span, ...]


def _marked(text: str, spans: Sequence[Span]) -> str:
    if not spans:
        return text
    marked = Text(text)
    marked.spans = tuple(spans)
    return marked


def literal(text: str) -> str:
    """Words of the template."""
    return _marked(text, [(0, len(text))] if text else [])


def own(text: str) -> tuple[Span, ...]:
    """The spans that are the template's own."""
    return text.spans if type(text) is Text else ()


def join(parts: Iterable[str]) -> str:
    """All of them, one behind the other."""
    parts = list(parts)
    spans: list[Span] = []
    at = 0
    for part in parts:
        for start, stop in own(part):
            if spans and spans[-1][1] == at + start:
                spans[-1] = (spans[-1][0], at + stop)
            else:
                spans.append((at + start, at + stop))
        at += len(part)
    return _marked("".join(parts), spans)


def cut(text: str, start: int, stop: int) -> str:
    """`text[start:stop]`, for 0 ≤ start ≤ stop ≤ its length."""
    marks, spans = own(text), []
    for i in range(max(bisect_left(marks, (start, 0)) - 1, 0), len(marks)):
        a, b = marks[i]
        if a >= stop or start >= stop:
            break
        if b > start:
            spans.append((max(a, start) - start, min(b, stop) - start))
    return _marked(str.__getitem__(text, slice(start, stop)), spans)


def strip(text: str, characters: str | None = None, *, left: bool = True, right: bool = True) -> str:
    """Without `characters` (white space) at its ends."""
    start = len(text) - len(text.lstrip(characters)) if left else 0
    stop = len(text.rstrip(characters)) if right else len(text)
    return cut(text, start, max(start, stop))


def split(text: str, separator: str, most: int = -1) -> list[str]:
    """`text.split(separator, most)`.

    Raises:
        ValueError: the separator is empty.
    """
    pieces, at = [], 0
    for piece in text.split(separator, most):
        pieces.append(cut(text, at, at + len(piece)))
        at += len(piece) + len(separator)
    return pieces


def replace(text: str, old: str, new: str, most: int = -1) -> str:
    """`text.replace(old, new, most)`."""
    if not old or not (own(text) or own(new)):
        return str.replace(text, old, new, most)
    pieces = split(text, old, most)
    return join(part for n, piece in enumerate(pieces) for part in ((new, piece) if n else (piece,)))
