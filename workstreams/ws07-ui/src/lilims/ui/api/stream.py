"""Server-sent events: chunks as they come, comments while nothing does, an end as soon as the client has gone.

Knows the event stream's format (https://html.spec.whatwg.org/#server-sent-events) and ASGI. Must not know chunks.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from lilims.runtime import Token

from ..engine import Job
from .errors import ApiError, api_error

__all__ = ["EventStream", "merged", "while_connected"]

T = TypeVar("T")
_LOG = logging.getLogger("lilims.ui")


class EventStream:
    """A response of events. Each is a pydantic model; `[DONE]` ends them; an error is an event of its own.

    Args:
        events: what is sent.
        close: called when nothing more is sent, for whatever reason.
        keep_alive: seconds of silence after which a comment is sent, so that nothing between here and the client
            takes the connection for dead.
    """

    def __init__(self, events: AsyncIterator[BaseModel], close: Callable[[], None], *, keep_alive: float) -> None:
        self._events = events
        self._close = close
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_gone(receive))
        try:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async with aclosing(self._lines(gone)) as lines:
                async for data in lines:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            self._close()

    async def _lines(self, gone: asyncio.Task[None]) -> AsyncGenerator[bytes]:
        """The events' bytes, and comments in between, until there is no more or nobody listens."""
        following = asyncio.ensure_future(anext(self._events, None))
        try:
            while True:
                await asyncio.wait({following, gone}, timeout=self._keep_alive, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return
                if not following.done():
                    yield b": keep-alive\n\n"
                    continue
                try:
                    event = following.result()
                except Exception as error:
                    yield _data(json.dumps(_told(error).as_dict()))
                    return
                if event is None:
                    yield _data("[DONE]")
                    return
                yield _data(event.model_dump_json(exclude_unset=True))
                following = asyncio.ensure_future(anext(self._events, None))
        finally:
            following.cancel()


def _told(error: Exception) -> ApiError:
    known = api_error(error)
    if known.status == 500:
        _LOG.error("a stream failed", exc_info=error)
    return known


def _data(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


async def _gone(receive: Receive) -> None:
    """Returns when the client has gone. The body has been read: nothing else can come."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T], close: Callable[[], None]) -> T | None:
    """What `work` gives; None, and `close` is called, where the client goes before."""
    gone = asyncio.create_task(_gone(receive))
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({gone, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        gone.cancel()
        task.cancel()
        close()


async def merged(jobs: Sequence[Job]) -> AsyncIterator[tuple[int, Token]]:
    """Events of several jobs as they come, each with the job's number; one at a time is read ahead of each."""
    if len(jobs) == 1:
        async for token in jobs[0]:
            yield 0, token
        return
    pending = {asyncio.ensure_future(anext(job, None)): i for i, job in enumerate(jobs)}
    try:
        while pending:
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda one: pending[one]):
                i, event = pending.pop(task), task.result()
                if event is not None:
                    yield i, event
                    pending[asyncio.ensure_future(anext(jobs[i], None))] = i
    finally:
        for task in pending:
            task.cancel()
