"""A generation as its user holds it: an iterator, an asynchronous one, or calls to a delegate; and a way to stop it.

Knows threads and queues. Must not know how tokens come about.

    for token in generation            the caller's thread decodes: a slow caller pauses it
    async for token in generation      a thread decodes at most `pump.AHEAD` tokens ahead, then waits for the consumer
    generation.deliver(delegate)       a thread decodes and calls the delegate for each token

One generation is for one of them. None drops a token, and none keeps more than that.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator

from ..statistics import Statistics
from .events import Delegate, Token

__all__ = ["Generation"]


class Generation(Iterator[Token]):
    """Tokens as they come. Made by `Model.generate`.

    Attributes:
        statistics: figures of this generation; they grow while it runs.
    """

    def __init__(self, start: Callable[[Callable[[], bool]], Iterator[Token]], statistics: Statistics) -> None:
        self.statistics = statistics
        self._interrupted = threading.Event()
        self._tokens = start(self._interrupted.is_set)

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> Token:
        return next(self._tokens)

    def __aiter__(self) -> AsyncIterator[Token]:
        return self._ahead()

    def text(self) -> str:
        """Runs to the end; all text of the answer, without the reasoning."""
        return "".join(token.text for token in self)

    def interrupt(self) -> None:
        """Ends the generation before its next step, from any thread.

        The last event then has the finish reason "interrupt"; the session stays usable and keeps what was written.
        """
        self._interrupted.set()

    def close(self) -> None:
        """Ends the generation at once, without a last event. For who iterates; `interrupt` is for other threads."""
        close = getattr(self._tokens, "close", None)
        if close is not None:
            close()

    def deliver(self, delegate: Delegate) -> threading.Thread:
        """Decodes in a thread, which is returned, and calls `delegate` from it.

        An error that `delegate.token` raises ends the generation and comes back through `delegate.failed`.
        """
        thread = threading.Thread(target=self._deliver, args=(delegate,), name="lilims-generation", daemon=True)
        thread.start()
        return thread

    def _deliver(self, delegate: Delegate) -> None:
        try:
            for token in self:
                delegate.token(token)
        except Exception as exc:
            self.close()
            delegate.failed(exc)
        else:
            delegate.finished(self.statistics)

    async def _ahead(self) -> AsyncIterator[Token]:
        """Tokens from a thread. When the consumer leaves, the thread ends within a step, and that is awaited."""
        from .pump import Pump  # here: asyncio takes long to import

        pump = Pump(self)
        try:
            async for token in pump.tokens():
                yield token
        finally:
            await pump.stop()
