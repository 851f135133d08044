"""The template language of the story grammar: choices, slots, articles, capitals.

``[a|b|c]`` picks one (nesting allowed, an empty arm too), ``{slot.field}`` asks the cast. It knows no story and no word list.
Everything random comes from the generator that the caller passes in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Protocol

MAX_DEPTH = 12


class Slot(Protocol):
    """Something a template can mention: a character, a thing, a record."""

    def field(self, name: str, rng: random.Random) -> str:
        """The words for ``{slot.name}``; ``text`` when the template gives no field. KeyError when there is none."""
        ...


_REFERENCE = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")  # innermost first
_ARTICLE = re.compile(r"\b([Aa]) (?=(\w+))")
_VOWEL_SOUND = re.compile(r"(?!one\b|once\b|uni|use|usu|eu)[aeiou]|hour|honest", re.IGNORECASE)
_INITIAL = re.compile(r'(?:^|(?<=[.!?] )|(?<=\." ))[a-z]')
# After a question or a shout in quotes the sentence goes on with its speech verb, or a new one starts.
_SPEECH = "said|asked|cried|called|shouted|whispered|thought|laughed|wailed|sobbed|cheered|told|yelled|read|wondered|sang|answered|shrieked|hummed"
_AFTER_SHOUT = re.compile(rf'(?<=[!?]" )(?!(?:(?:he|she|they|it)(?: both| all)? )?(?:{_SPEECH})\b)[a-z]')


def expand(template: str, cast: Mapping[str, Slot], rng: random.Random, drawn: list[str] | None = None) -> str:
    """The template with every choice made and every slot filled; ``drawn`` receives what the slots said.

    Raises KeyError for an unknown slot.
    """

    def fill(match: re.Match[str]) -> str:
        words = cast[match[1]].field(match[2] or "text", rng)
        if drawn is not None:
            drawn.append(words)
        return words

    text = template
    for _ in range(MAX_DEPTH):
        while found := _CHOICE.search(text):
            text = text[: found.start()] + rng.choice(found[1].split("|")) + text[found.end() :]
        if "{" not in text:
            return text
        text = _REFERENCE.sub(fill, text)
    raise ValueError(f"template does not come to an end: {template!r}")


def tidy(text: str) -> str:
    """Single spaces, ``a``/``an`` by sound, a capital at the start of each sentence and each quotation."""
    text = re.sub(r" +", " ", text).strip()
    text = re.sub(r" ([.,!?;])", r"\1", text)
    text = _ARTICLE.sub(lambda m: f"{m[1]}n " if _VOWEL_SOUND.match(m[2]) else m[0], text)
    for start in (_INITIAL, _AFTER_SHOUT):
        text = start.sub(lambda match: match[0].upper(), text)
    return text
