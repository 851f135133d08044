"""From chosen ids to what is shown: text, cut at stop strings, reasoning apart from the answer.

Knows the order of these steps. Must not know how ids are chosen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .stops import StopStrings

__all__ = ["Detokenizer", "NoText", "Output", "Splitter"]


class Detokenizer(Protocol):
    """Text from ids as they come; `lilims.tokenizer.StreamDecoder` is one."""

    def push(self, token: int) -> str:
        """The text that the token completes."""

    def finish(self) -> str:
        """What is left of an incomplete character."""


class Splitter(Protocol):
    """Reasoning from answer; `lilims.tokenizer.ReasoningSplitter` is one."""

    def push(self, text: str) -> Iterable[tuple[str, str]]:
        """Pairs of a channel, "text" or "reasoning", and the text that is certain to belong to it."""

    def finish(self) -> Iterable[tuple[str, str]]:
        """What was held back."""


class NoText:
    """Stands in for a tokenizer that is not there."""

    def push(self, token: int) -> str:
        return ""

    def finish(self) -> str:
        return ""


class Output:
    """The text of one generation, step by step."""

    def __init__(self, decoder: Detokenizer, stops: StopStrings, splitter: Splitter | None) -> None:
        self._decoder = decoder
        self._stops = stops
        self._splitter = splitter

    @property
    def stop_string(self) -> str | None:
        """The stop string that has ended the text."""
        return self._stops.found

    def push(self, token: int) -> tuple[str, str]:
        """The answer's text and the reasoning that a token completes."""
        return self._split(self._stops.push(self._decoder.push(token)))

    def finish(self) -> tuple[str, str]:
        """What is left: half a character, the beginning of a stop string or of a tag."""
        text, reasoning = self._split(self._stops.push(self._decoder.finish()) + self._stops.finish())
        if self._splitter is None:
            return text, reasoning
        more, thought = _by_channel(self._splitter.finish())
        return text + more, reasoning + thought

    def _split(self, text: str) -> tuple[str, str]:
        return (text, "") if self._splitter is None else _by_channel(self._splitter.push(text))


def _by_channel(pieces: Iterable[tuple[str, str]]) -> tuple[str, str]:
    texts = {"text": "", "reasoning": ""}
    for channel, piece in pieces:
        texts[channel] += piece
    return texts["text"], texts["reasoning"]
