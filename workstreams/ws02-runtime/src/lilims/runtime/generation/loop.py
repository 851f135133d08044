"""The decoding loop: a prompt's ids in, tokens and their text out, one at a time.

Knows when to stop and what to measure. Must not know how logits are computed (session.py) or chosen (sampling/), nor
what text is made of (output.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lilims.core.errors import ContextOverflowError
from lilims.core.events import emit, is_heard

from ..sampling import Choice, Sampler
from ..session import Session
from ..statistics import FinishReason, Statistics
from .events import NO_TOKEN, Token
from .output import Output

__all__ = ["Drafter", "Request", "check_room", "generate"]


class Drafter(Protocol):
    """Speculative decoding: `lilims.runtime.speculative.Speculator` is one."""

    @property
    def speedup(self) -> float | None:
        """How many times faster than one token a step, as far as it can tell."""

    def step(self, session: Session, sampler: Sampler, token: int) -> tuple[Sequence[Choice], int]:
        """Runs `token` and what it proposes behind it.

        Returns:
            the choices that follow `token`, at least one, and how many tokens were proposed. The state holds `token`
            and all choices but the last.
        """


@dataclass(frozen=True)
class Request:
    """What is to be generated.

    Attributes:
        prompt: the text's ids from its beginning, at least one. Those that the session holds already are not run again.
        sampler: chooses tokens.
        output: makes text of them; it has seen the prompt.
        stop_ids: a token that ends the text; it is the last one, without text.
        max_tokens: None goes on until the text ends or the context is full.
        drafter: of speculative decoding.
        about: what events say beside the figures: model and executor, no text. Asked only if somebody listens.
    """

    prompt: Sequence[int]
    sampler: Sampler
    output: Output
    stop_ids: frozenset[int]
    max_tokens: int | None
    drafter: Drafter | None = None
    about: Callable[[], Mapping[str, Any]] = dict


class _Interrupted(Exception):
    """`interrupt` was called."""


def generate(
    session: Session,
    request: Request,
    *,
    statistics: Statistics,
    started: float,
    interrupted: Callable[[], bool],
) -> Iterator[Token]:
    """Generates until a stop id or string, `max_tokens`, a full context, or an interrupt.

    Args:
        session: may hold a beginning of the prompt.
        started: `time.perf_counter()` when the user asked.
        interrupted: asked before each step and each call of the prompt.

    Raises:
        ContextOverflowError: the prompt does not fit; nothing was written.
    """
    loop = _Loop(session, request, statistics, interrupted)
    failed: Exception | None = None
    try:
        choices: Sequence[Choice] = [loop.prefill()]
        statistics.time_to_first_token = time.perf_counter() - started
        while True:
            for place, choice in enumerate(choices):
                behind = len(choices) - 1 - place
                event = loop.event(choice, behind)
                if event.finish_reason:
                    loop.forget(behind)
                yield event
                if event.finish_reason:
                    return
            choices = loop.step(choices[-1].id)
    except _Interrupted:
        statistics.finish_reason = "interrupt"
        text, reasoning = request.output.finish()
        yield Token(NO_TOKEN, text, reasoning, finish_reason="interrupt")
    except Exception as exc:
        failed = exc
        raise
    finally:  # also when the consumer leaves
        _tell(request, statistics, failed)


def _tell(request: Request, statistics: Statistics, failed: Exception | None) -> None:
    """The events of a generation's end: `generate.done`, or `generate.failed` with the error's type."""
    if not is_heard():
        return
    fields = {**request.about(), **statistics.as_dict(), "seconds": statistics.seconds}
    if failed is None:
        emit("generate.done", **fields)
    else:
        emit("generate.failed", error_type=type(failed).__name__, **fields)


class _Loop:
    """The steps of one generation, measured."""

    def __init__(
        self, session: Session, request: Request, statistics: Statistics, interrupted: Callable[[], bool]
    ) -> None:
        self._session = session
        self._request = request
        self._statistics = statistics
        self._interrupted = interrupted

    def prefill(self) -> Choice:
        """Runs what the session does not hold of the prompt; the first token."""
        before = time.perf_counter()
        prompt, session, request = self._request.prompt, self._session, self._request
        kept = session.keep(prompt)
        self._statistics.reused_tokens = kept
        while (done := session.position) < len(prompt):
            self._check()
            logits = session.append(prompt[done : done + session.piece])
        now = time.perf_counter()
        self._statistics.prefill_seconds = now - before
        request.sampler.observe(prompt)
        chosen = request.sampler.choose(logits)
        self._statistics.sampling_seconds += time.perf_counter() - now
        return chosen

    def step(self, token: int) -> Sequence[Choice]:
        """The tokens that follow `token`: one, or with speculative decoding perhaps several."""
        self._check()
        figures, request = self._statistics, self._request
        before = time.perf_counter()
        if request.drafter is None:
            logits = self._session.append([token])
            ready = time.perf_counter()
            choices: Sequence[Choice] = [request.sampler.choose(logits)]
            end = time.perf_counter()
            figures.sampling_seconds += end - ready
        else:
            choices, drafted = request.drafter.step(self._session, request.sampler, token)
            end = time.perf_counter()
            figures.drafted_tokens += drafted
            figures.accepted_tokens += len(choices) - 1
            figures.speedup = request.drafter.speedup
        figures.steps.append(end - before)
        figures.decode_seconds += end - before
        return choices

    def event(self, choice: Choice, behind: int) -> Token:
        """What is told of a token, and whether it is the last one. The state holds `behind` tokens from it on."""
        figures, request = self._statistics, self._request
        figures.generated_tokens += 1
        before = time.perf_counter()
        reason: FinishReason | None = "stop" if choice.id in request.stop_ids else None
        text, reasoning = ("", "") if reason else request.output.push(choice.id)
        figures.stop_string = request.output.stop_string
        if figures.stop_string is not None or (not behind and request.sampler.finished):
            reason = "stop"
        # The token that fills the context is shown, but there is no row to continue from it.
        elif not reason and (figures.generated_tokens == request.max_tokens or self._full(behind)):
            reason = "length"
        if reason:
            rest, thought = request.output.finish()
            text, reasoning = text + rest, reasoning + thought
            figures.finish_reason, figures.constraint_met = reason, request.sampler.complete
        figures.detokenize_seconds += time.perf_counter() - before
        return Token(choice.id, text, reasoning, choice.logprob, choice.top, reason)

    def forget(self, count: int) -> None:
        """Takes tokens out of the state that speculative decoding wrote behind the last one that is told."""
        if count:
            self._session.rewind(count)

    def _full(self, behind: int) -> bool:
        room = self._session.room
        return room is not None and room + behind == 0

    def _check(self) -> None:
        if self._interrupted():
            raise _Interrupted


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
