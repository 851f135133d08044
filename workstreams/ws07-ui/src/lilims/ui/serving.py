"""The HTTP server: uvicorn on a socket of ours, with bounds on clients that are slow on purpose.

Knows uvicorn. Must not know what is served.

uvicorn bounds the head of a request in bytes but not in seconds, and waits as long as it takes until a client reads.
`Patient` does what is missing, for each connection: a head that is not there after `HEAD_SECONDS`, or an answer of
which nothing was read for `STALL_SECONDS`, ends it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from lilims.core.errors import LilimsError

__all__ = ["AddressError", "Patient", "bound_socket", "server_of", "url_of"]

HEAD_SECONDS = 15.0
STALL_SECONDS = 90.0
CONNECTIONS = 1024
_BACKLOG = 256
_GRACE = 3  # seconds that answers have to end when the server is stopped


class AddressError(LilimsError):
    """The server cannot listen where it was to."""

    next_step = "--port takes another one, 0 any that is free"


class Patient(H11Protocol):
    """A connection whose patience ends."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy:
            if not self.flow.write_paused:  # who does not read buys no time by writing
                self._cancel()
        elif self._deadline is None:  # the beginning of the next request on this connection
            self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._restart(STALL_SECONDS)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel()

    def _await_head(self) -> None:
        self._restart(HEAD_SECONDS)

    def _restart(self, seconds: float) -> None:
        self._cancel()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        AddressError: the address is none of this machine's, the port is taken, or not to be had.
    """
    name = host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        if family == socket.AF_INET6:
            return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        return socket.create_server(address[:2], backlog=_BACKLOG)
    except (OSError, OverflowError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise AddressError(f"cannot listen there: {reason}", where=f"{host}:{port}") from exc


def url_of(bound: socket.socket) -> str:
    """The address that a browser on this machine takes."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "127.0.0.1" if bound.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """A server that says when it serves: the application may fail before."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def server_of(app: ASGIApp, ready: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """The server of an application: `run(sockets=[bound_socket(…)])` serves until a signal or `should_exit` ends it.

    Args:
        ready: called once it serves.
    """
    told = logging.getLogger("uvicorn")  # what it has to say goes where lilims' own words go, and never to stderr
    told.handlers = [*logging.getLogger("lilims").handlers, logging.NullHandler()]
    told.propagate = False
    config = uvicorn.Config(
        app,
        http=Patient,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE,
        h11_max_incomplete_event_size=32 << 10,
    )
    return _Server(config, ready)
