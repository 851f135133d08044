"""The decoding loop: a prompt's ids in, tokens and their text out, one at a time.

Knows when to stop and what to measure. Must not know how logits are computed (session.py) or chosen (sampling.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lilims.core.errors import ContextOverflowError
from lilims.core.events import emit

from .sampling import Sampler
from .session import Session
from .statistics import FinishReason, Statistics

__all__ = ["Detokenizer", "Token", "check_room", "generate"]


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is generated.

    Attributes:
        id: its id.
        text: the text that it completes: empty for an eos, for half a character, and without a tokenizer.
        finish_reason: "stop" or "length" on the last token, else None.
    """

    id: int
    text: str
    finish_reason: FinishReason | None = None


class Detokenizer(Protocol):
    """Text from ids as they come; `lilims.tokenizer.StreamDecoder` is one."""

    def push(self, token: int) -> str:
        """The text that the token completes."""

    def finish(self) -> str:
        """What is left of an incomplete character."""


def generate(
    session: Session,
    prompt: Sequence[int],
    *,
    sampler: Sampler,
    decoder: Detokenizer,
    stop_ids: frozenset[int],
    max_tokens: int | None,
    statistics: Statistics,
    started: float,
) -> Iterator[Token]:
    """Generates until a stop id (it is the last token, without text), `max_tokens`, or a full context.

    Args:
        session: holds what precedes the prompt.
        prompt: at least one id; `decoder` has seen them already.
        started: `time.perf_counter()` when the user asked.

    Raises:
        ContextOverflowError: the prompt does not fit; nothing was written.
    """
    try:
        before = time.perf_counter()
        logits = session.append(prompt)
        statistics.prefill_seconds = time.perf_counter() - before
        chosen = sampler.choose(logits)
        statistics.time_to_first_token = time.perf_counter() - started
        while True:
            statistics.generated_tokens += 1
            # The token that fills the context is shown, but there is no row to continue from it.
            full = statistics.generated_tokens == max_tokens or session.position == session.capacity
            reason: FinishReason | None = "stop" if chosen in stop_ids else "length" if full else None
            text = "" if reason == "stop" else decoder.push(chosen)
            if reason:
                statistics.finish_reason = reason
                yield Token(chosen, text + decoder.finish(), reason)
                return
            yield Token(chosen, text)
            before = time.perf_counter()
            chosen = sampler.choose(session.append([chosen]))
            statistics.decode_seconds += time.perf_counter() - before
    finally:  # also when the consumer leaves
        emit("generate.done", **statistics.as_dict())


def check_room(prompt: Sequence[int], capacity: int) -> None:
    """Refuses a prompt that a context cannot hold, before anything is computed.

    Raises:
        ContextOverflowError: with the number of tokens to take away.
    """
    if len(prompt) > capacity:
        raise ContextOverflowError(
            f"the prompt has {len(prompt)} tokens, the context holds {capacity}",
            hint=f"shorten it by {len(prompt) - capacity} tokens, or convert the model again with a larger --context",
        )
