"""What a generation tells while it runs.

Knows the fields of an event. Must not know how tokens are computed or who listens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..statistics import FinishReason, Statistics

__all__ = ["NO_TOKEN", "Delegate", "Token"]

NO_TOKEN = -1
"""The id of an event that stands for no token: the one that closes an interrupted generation."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is generated. `str(token)` is its text.

    Attributes:
        id: its id, or `NO_TOKEN`.
        text: the answer's text that the token completes: empty for an eos, for half a character, for what may yet turn
            out to be a stop string, for reasoning, and without a tokenizer.
        reasoning: the same of text between a reasoning model's tags (`<think>` … `</think>`).
        logprob: natural logarithm of the probability that the model gave it, where logprobs were asked for.
        top_logprobs: ids and logprobs of the likeliest tokens, likeliest first, as many as were asked for.
        finish_reason: why the generation ends, on its last event; else None.
    """

    id: int
    text: str = ""
    reasoning: str = ""
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    finish_reason: FinishReason | None = None

    def __str__(self) -> str:
        return self.text


class Delegate(Protocol):
    """Whoever wants to be called instead of asking; see `Generation.deliver`."""

    def token(self, token: Token) -> None:
        """A token was generated."""

    def finished(self, statistics: Statistics) -> None:
        """The generation has ended; the reason is `statistics.finish_reason`."""

    def failed(self, error: Exception) -> None:
        """The generation has ended with an error: an executor's, or one that `token` raised."""
