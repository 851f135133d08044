"""The work of one request, in turns that are short: a slice of the prompt, or a token.

Knows a loaded model, its caches and the runtime's loop. Must not know threads, queues or who reads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from lilims.runtime import Generation, Model, Statistics, Token
from lilims.runtime.generation.events import NO_TOKEN
from lilims.runtime.generation.prompt import Prompt

from .caches import Cache, Caches

__all__ = ["Work"]


@dataclass
class Work:
    """One generation. `step` does a turn; `close` gives back what it holds, at any time.

    Attributes:
        model, caches: what it runs on.
        prompt: what it begins with.
        options: further arguments of `Model.generate`.
        exact: whether the same request has to give the same text, whatever the caches hold.
        submitted: `time.perf_counter()` when it was asked for.
        statistics: figures of it; they grow while it runs.
        done: whether the last event was given out.
    """

    model: Model
    caches: Caches
    prompt: Prompt
    options: dict[str, Any]
    exact: bool
    submitted: float
    statistics: Statistics
    done: bool = False
    _cache: Cache | None = None
    _generation: Generation | None = None
    _prefill: float = 0.0

    @property
    def ready(self) -> bool:
        """Whether there is a cache for it."""
        return self._cache is not None or self.caches.free

    def step(self, *, cancelled: bool = False) -> Token | None:
        """A turn: None where it ran a slice of the prompt, else the next event.

        Raises:
            LilimsError: the executor failed; the work is over.
        """
        try:
            if cancelled and self._generation is None:
                return self._cut()
            if self._cache is None:
                self._take()
            if self._generation is None:
                if self._slice():
                    return None
                self._generation = self._start()
            return self._next(self._generation, cancelled)
        except BaseException:
            self._fail()
            raise

    def close(self) -> None:
        """Ends the work, if it has not; its cache is free."""
        self.done = True
        if self._generation is not None:
            self._generation.close()
            self._generation = None
        if self._cache is not None:
            self.caches.give_back(self._cache)
            self._cache = None

    def _take(self) -> None:
        self._cache = self.caches.take(self.prompt.ids, exact=self.exact)
        self.statistics.reused_tokens = self._cache.session.position

    def _slice(self) -> bool:
        """Runs a slice of the prompt; False where only its last token is left, which the loop runs."""
        assert self._cache is not None
        session, ids, size = self._cache.session, self.prompt.ids, self.caches.slice_tokens
        done, end = session.position, len(self.prompt.ids) - 1
        if done >= end:
            return False
        before = time.perf_counter()
        size = session.piece if session.padded else min(size, session.piece)
        to = min(end, done - done % size + size)
        session.append(ids[done:to])
        if self._cache.exact == done and to % self.caches.slice_tokens == 0:
            self._cache.exact = to
        self._prefill += time.perf_counter() - before
        return True

    def _start(self) -> Generation:
        assert self._cache is not None
        return self.model.generate(self.prompt, session=self._cache.session, **self.options)

    def _next(self, generation: Generation, cancelled: bool) -> Token:
        if cancelled:
            generation.interrupt()
        own = generation.statistics
        token = next(generation)
        if own is not self.statistics:
            self._adopt(own)
        if token.finish_reason:
            self.close()
        return token

    def _adopt(self, own: Statistics) -> None:
        """The loop's figures, with what was done before it: it saw a prompt that was run but for its last token."""
        own.reused_tokens = self.statistics.reused_tokens
        own.tokenize_seconds = self.statistics.tokenize_seconds
        own.prefill_seconds += self._prefill
        own.time_to_first_token = time.perf_counter() - self.submitted
        self.statistics = own

    def _cut(self) -> Token:
        """The only event of a generation that was cancelled before it began."""
        self.statistics.finish_reason = "interrupt"
        self.close()
        return Token(NO_TOKEN, finish_reason="interrupt")

    def _fail(self) -> None:
        """What the session holds after a failure is its own affair: it is not used again."""
        self.done = True
        if self._cache is not None:
            self.caches.drop(self._cache)
            self._cache = None
