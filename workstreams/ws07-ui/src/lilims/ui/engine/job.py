"""A request on its way: what its asker holds, and what the scheduler fills.

Knows one event loop and one bounded buffer. Must not know how tokens come about, nor when it is whose turn.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Literal

from lilims.runtime import Token

from .vocabulary import Vocabulary
from .work import Work

__all__ = ["Job"]


State = Literal["waiting", "running", "ended"]


class Job(AsyncIterator[Token]):
    """A generation that was asked for. Iterate over it in the event loop that asked.

        async for token in job: ...

    The last event has a `finish_reason`; a failure is raised by the iteration. At most `ahead` events wait for a slow
    reader: then the generation pauses, and ends with a StalledError where nobody reads for long. Whoever loses interest
    calls `cancel`.

    Attributes:
        model: the name of the model.
        prompt: token ids of the prompt.
        context: the most tokens that prompt and answer have together.
        state: waiting for its turn, running, or ended.
        began: `time.perf_counter()` when it was first let run; None before.
        cancelled: `cancel` was called.
        error: what it failed with.
        statistics: figures of the generation; they grow while it runs.
        ended: set when it has ended.
        vocabulary: how single tokens are shown.
        work: what the scheduler does; None when it has ended.
    """

    def __init__(self, work: Work, *, model: str, ahead: int, wake: Callable[[], None]) -> None:
        self.work: Work | None = work
        self.statistics = work.statistics
        self.model = model
        self.prompt = work.prompt.ids
        self.context = work.model.context
        self.vocabulary = Vocabulary(work.model)
        self.state: State = "waiting"
        self.began: float | None = None
        self.cancelled = False
        self.error: BaseException | None = None
        self.ended = asyncio.Event()
        self.on_end: Callable[[Job], None] = _nothing
        self._ahead = ahead
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Token | BaseException | None] = asyncio.Queue()
        self._lock = threading.Lock()
        self._unread = 0
        self._full_since: float | None = None
        self._read_all = False

    def cancel(self) -> None:
        """Ends the generation before its next turn, from any thread; its last event then says "interrupt"."""
        self.cancelled = True
        self._wake()

    async def text(self) -> str:
        """Reads to the end; all text of the answer, without the reasoning."""
        return "".join([token.text async for token in self])

    def __aiter__(self) -> Job:
        return self

    async def __anext__(self) -> Token:
        if self._read_all:
            raise StopAsyncIteration
        event = await self._events.get()
        if isinstance(event, Token):
            self._taken()
            return event
        self._read_all = True
        if event is None:
            raise StopAsyncIteration
        raise event

    def _taken(self) -> None:
        with self._lock:
            self._unread -= 1
            was_full, self._full_since = self._full_since is not None, None
        if was_full:
            self._wake()

    # What follows is for the scheduler's thread.

    @property
    def full_since(self) -> float | None:
        """Since when as many events wait as may (`time.monotonic()`); None while there is room."""
        with self._lock:
            return self._full_since

    def turn(self) -> None:
        """Does a turn, and gives the reader what comes of it."""
        assert self.work is not None
        try:
            token = self.work.step(cancelled=self.cancelled)
        finally:
            self.statistics = self.work.statistics
        if token is not None:
            self._put(token)
        if self.work.done:
            self.end()

    def _put(self, token: Token) -> None:
        with self._lock:
            self._unread += 1
            if self._unread >= self._ahead:
                self._full_since = self._full_since or time.monotonic()
        self._call(self._events.put_nowait, token)

    def end(self, error: BaseException | None = None) -> None:
        """There is nothing more. The model is let go of: it may be unloaded while somebody still reads."""
        if self.work is not None:
            self.work.close()
        self.work = None
        self.error = error
        self.state = "ended"
        self._call(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        self._events.put_nowait(error)
        self.ended.set()
        on_end, self.on_end = self.on_end, _nothing
        on_end(self)

    def _call(self, function: Callable[..., None], argument: Token | BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:  # the loop is closed: nobody listens
            self.cancelled = True


def _nothing(_job: Job) -> None:
    """Stands in for nobody who wants to know."""
