"""A server on a real socket, and a plain client that sees every byte."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lilims.runtime import Model, load
from lilims.ui import Access, Engine, EngineSettings, create_app
from lilims.ui.serving import bound_socket, server_of, url_of

PATIENCE = 60.0  # seconds; a bound against hangs, no measurement


@lru_cache(maxsize=1)
def stories() -> Model:
    """The built-in model, loaded once: what it says by itself is what servers have to say."""
    return load("stories")


@dataclass(frozen=True)
class Live:
    """A server that runs."""

    engine: Engine
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def live(
    *models: str, access: Access | None = None, keep_alive: float = 10.0, send_buffer: int = 0, **settings: Any
) -> Iterator[Live]:
    """Serves in a thread, on a free port. `send_buffer` bounds what the system keeps for clients that do not read."""
    engine = Engine(models, EngineSettings(**settings))
    server = server_of(create_app(engine, access, web=False, keep_alive=keep_alive))
    with bound_socket("127.0.0.1", 0) as bound:
        if send_buffer:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started)
        try:
            yield Live(engine, url_of(bound))
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def wait_for(true: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def post(server: Live, path: str, body: Any, *, window: int = 0, last: bool = True) -> socket.socket:
    """Sends a request by hand; the answer is the caller's to read. `window` bounds what comes before it is read.

    It is the connection's only one, unless it is not the `last`.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = socket.socket()
    if window:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", server.port))
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    head += f"Connection: {'close' if last else 'keep-alive'}\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def read_until(connection: socket.socket, what: bytes) -> bytes:
    """Everything until some bytes have come."""
    seen = b""
    while what not in seen:
        part = connection.recv(4096)
        assert part, f"the server closed before {what!r}; it sent {seen[-300:]!r}"
        seen += part
    return seen
