"""The thread that decodes for an event loop, and the queue between them.

Knows asyncio. Must not know how tokens come about.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from .events import Token

if TYPE_CHECKING:
    from .stream import Generation

__all__ = ["AHEAD", "Pump"]

AHEAD = 16
"""Tokens that wait for an asynchronous consumer at most."""


class Pump:
    """The thread of one generation, for the event loop that runs now."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Token | BaseException | None] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._left = False
        self._thread = threading.Thread(target=self._run, name="lilims-generation", daemon=True)
        self._thread.start()

    async def tokens(self) -> AsyncIterator[Token]:
        while (item := await self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            self._room.release()
            yield item

    async def stop(self) -> None:
        self._left = True
        self._generation.interrupt()
        self._room.release()  # it may wait for room
        await asyncio.shield(asyncio.to_thread(self._thread.join))

    def _run(self) -> None:
        last: BaseException | None = None
        try:
            for token in self._generation:
                self._room.acquire()
                if self._left:
                    break
                self._put(token)
        except BaseException as exc:
            last = exc
        finally:
            self._generation.close()
        self._put(last)

    def _put(self, item: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:  # the loop was closed: nobody listens
            self._generation.interrupt()
            self._left = True
