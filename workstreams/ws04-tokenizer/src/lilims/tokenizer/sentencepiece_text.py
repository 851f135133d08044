"""What SentencePiece does to text before it looks for pieces.

Knows `Normalizer::Normalize` of google/sentencepiece's normalizer.cc. Must not know ids, or how rules are stored.
"""

from __future__ import annotations

import re

from .charsmap import Charsmap
from .parts import MARKER
from .sentencepiece_model import PieceType, SentencePieceModel

__all__ = ["Normalizer"]


class Normalizer:
    """Text as a SentencePiece model wants to see it: rules applied, whitespace counted, spaces as U+2581."""

    def __init__(self, model: SentencePieceModel) -> None:
        """Raises ValueError where the model's rules are damaged."""
        self._prefix = model.add_dummy_prefix
        self._suffix = model.whitespace_as_suffix
        self._collapse = model.remove_extra_whitespaces
        self._rules = Charsmap(model.charsmap) if model.charsmap else None
        kept = [piece.text for piece in model.pieces if piece.type is PieceType.USER_DEFINED]
        self._interesting = _pattern(kept, self._rules)

    def __call__(self, text: str, *, prefix: bool = True) -> str:
        """The normalised text; without `prefix` it is taken for the continuation of another one."""
        if not text:
            return ""
        body = self._mapped(text)
        if not body and self._collapse:
            return ""
        marker = MARKER if self._prefix and prefix else ""
        if self._suffix:
            body = body.rstrip(MARKER) if self._collapse else body
            return body + marker
        body = marker + body
        return body.rstrip(MARKER) if self._collapse else body

    def _mapped(self, text: str) -> str:
        if self._interesting is None and not self._collapse:
            return text.replace(" ", MARKER)
        out: list[str] = []
        after_space = True
        for part, kept in self._segments(text):
            if self._collapse:
                part = part if kept else re.sub(" {2,}", " ", part)
                part = part.lstrip(" ") if after_space else part
                after_space = part.endswith(" ") if part else after_space
            out.append(part)
        return "".join(out).replace(" ", MARKER)

    def _segments(self, text: str) -> list[tuple[str, bool]]:
        """Parts of the text after the rules; those that are user-defined symbols are marked and left as they are."""
        segments: list[tuple[str, bool]] = []
        at = 0
        while self._interesting is not None and (match := self._interesting.search(text, at)) is not None:
            start = match.start()
            if start > at:
                segments.append((text[at:start], False))
            if match.lastgroup == "kept":
                at = match.end()
                segments.append((match.group(), True))
                continue
            found = self._rules.longest(text, start) if self._rules is not None else None
            length, replacement = found or (1, text[start])  # perhaps two characters of a rule, but not the rest
            segments.append((replacement, False))
            at = start + length
        segments.append((text[at:], False))
        return segments


def _pattern(kept: list[str], rules: Charsmap | None) -> re.Pattern[str] | None:
    """Finds the places where a user-defined symbol stands or a rule may apply; the longest symbol wins."""
    parts = []
    if kept:
        parts.append(f"(?P<kept>{'|'.join(re.escape(text) for text in sorted(kept, key=len, reverse=True))})")
    if rules is not None and rules.singles:
        parts.append(_one_of(rules.singles))
    if rules is not None and rules.seconds:
        parts.append(f"{_one_of(rules.starts)}(?={_one_of(rules.seconds)})")
    return re.compile("|".join(parts)) if parts else None


def _one_of(characters: set[str]) -> str:
    """A class of characters as ranges: above U+FFFF `re` goes through the members of a class one by one."""
    ranges: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in ranges) + "]"
