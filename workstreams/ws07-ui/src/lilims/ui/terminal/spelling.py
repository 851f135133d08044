"""The ids that a cache holds, in place of others that spell the same text.

Knows ids and their text. Must not know conversations.

A model may write a text in other tokens than its tokenizer would cut it into ("wood" + "en" for "wooden"). Encoding the
conversation again then parts from what the cache holds, and everything behind has to be run again. So as far as both
spell the same text, the cache's ids are taken. Special tokens have no spelling: they stand for themselves alone, or a
message could end a turn by writing its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lilims.tokenizer import Tokenizer

__all__ = ["respelled"]

_SEEN = 16  # tokens before the difference that a decoder sees: what follows may depend on them


class _Decoder(Protocol):
    def push(self, token: int) -> str: ...


class _Side:
    """One of the two sequences, read from where they part."""

    def __init__(self, ids: Sequence[int], start: int, decoder: _Decoder, special: Callable[[int], bool]) -> None:
        self.ids = ids
        self.place = start
        self.text = ""  # that the other side has not had yet
        self._decoder = decoder
        self._special = special
        for token in ids[max(0, start - _SEEN) : start]:
            decoder.push(token)

    @property
    def next_is_special(self) -> bool:
        return self.place < len(self.ids) and self._special(self.ids[self.place])

    def read(self) -> bool:
        """Takes the next token's text; False at the end, or before a special token."""
        if self.place == len(self.ids) or self.next_is_special:
            return False
        self.text += self._decoder.push(self.ids[self.place])
        self.place += 1
        return True

    def step_over(self) -> None:
        """Takes a special token."""
        self._decoder.push(self.ids[self.place])
        self.place += 1


def respelled(wanted: Sequence[int], held: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The ids of `held` as far as they spell the beginning of `wanted`, then the rest of `wanted`.

    Args:
        wanted: a text's ids, as the tokenizer cuts it.
        held: ids that a cache holds.
    """
    from lilims.runtime.session import common_prefix
    from lilims.tokenizer import StreamDecoder

    def special(token: int) -> bool:
        return not tokenizer.decode([token]) and bool(tokenizer.decode([token], skip_special_tokens=False))

    same = common_prefix(wanted, held)
    if same >= min(len(wanted), len(held)):
        return list(wanted)
    ours, theirs = (_Side(ids, same, StreamDecoder(tokenizer), special) for ids in (wanted, held))
    found = _longest(ours, theirs)
    made = [*held[: found[1]], *wanted[found[0] :]] if found else list(wanted)
    whole = tokenizer.decode(made, skip_special_tokens=False)
    return made if whole == tokenizer.decode(wanted, skip_special_tokens=False) else list(wanted)  # a cut character


def _longest(ours: _Side, theirs: _Side) -> tuple[int, int] | None:
    """The last places up to which both spell the same text; None if there are none."""
    found = None
    while True:
        if ours.text == theirs.text:
            if ours.text:
                found = ours.place, theirs.place
                ours.text = theirs.text = ""
            if ours.next_is_special or theirs.next_is_special:
                if ours.ids[ours.place : ours.place + 1] != theirs.ids[theirs.place : theirs.place + 1]:
                    return found
                ours.step_over()
                theirs.step_over()
                found = ours.place, theirs.place
                continue
        behind = ours if len(ours.text) <= len(theirs.text) else theirs
        if not behind.read() or not (ours.text.startswith(theirs.text) or theirs.text.startswith(ours.text)):
            return found
