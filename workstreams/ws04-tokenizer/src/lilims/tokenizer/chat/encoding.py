"""The ids of a rendered chat: the template's special tokens as such, everybody else's words as text.

Knows marked text (text.py) and what a tokenizer's parts can do. Must not know templates.
"""

from __future__ import annotations

import re

from ..errors import ChatTemplateError
from ..parts import Parts, scalar_values
from .text import own

__all__ = ["encode_marked"]


def encode_marked(
    text: str, parts: Parts, pattern: re.Pattern[str] | None, *, unknown: frozenset[int] = frozenset()
) -> list[int]:
    """The ids of `text`. A special token counts where all of it is the template's own.

    Args:
        pattern: finds the special tokens of `parts`; None where there are none.
        unknown: ids of special tokens that stand for text which the vocabulary cannot spell.

    Raises:
        ChatTemplateError: the tokenizer makes a special token of plain text, whatever it is asked.
    """
    if pattern is None:
        return parts.encode(scalar_values(text), False, False)
    cuts = [
        (start + match.start(), start + match.end())
        for start, stop in own(text)
        for match in pattern.finditer(str.__getitem__(text, slice(start, stop)))
    ]
    meant = [parts.special[text[start:stop]] for start, stop in cuts]
    known = set(parts.special.values()) - unknown

    def agrees(ids: list[int]) -> bool:
        return [i for i in ids if i in known] == [i for i in meant if i in known]

    if scalar_values(text) == text and cuts == [match.span() for match in pattern.finditer(text)]:
        ids = parts.encode(str.__str__(text), False, True)
        if agrees(ids):  # else a normaliser has made a special token of what is none
            return ids
    pieces: list[str | int] = []
    at = 0
    for (start, stop), token in zip(cuts, meant, strict=True):
        pieces += [scalar_values(text[at:start]), token]
        at = stop
    ids = parts.encode_around([*pieces, scalar_values(text[at:])])
    if not agrees(ids):
        raise ChatTemplateError(
            "the tokenizer makes a special token of words in a message", hint="its files may belong to another model"
        )
    return ids
