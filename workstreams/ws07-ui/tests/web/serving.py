"""A web chat on a free port of this machine, for a browser or a client: in a thread of its own, or in a process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from lilims.ui.web import Web

from .scripted import Scripted


def application(web: Web) -> Any:
    """The web chat alone, without the API of OpenAI."""
    from starlette.applications import Starlette

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        async with web:
            yield

    return Starlette(routes=web.routes(), lifespan=lifespan)


@contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:
    """Serves an application; gives its address."""
    import uvicorn

    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))

    def run() -> None:
        asyncio.run(server.serve(sockets=[bound]))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    for _ in range(1200):
        if server.started:
            break
        time.sleep(0.05)
    assert server.started, "the server did not start"
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        bound.close()
        assert not thread.is_alive(), "the server did not stop"


@contextmanager
def scripted_chat(path: Path, *, pace: float = 0.0, port: int = 0) -> Iterator[tuple[str, Scripted, Web]]:
    """The web chat with the scripted engine."""
    engine = Scripted(pace)
    web = Web(engine, engine, path=path, default_model="talker")
    with serving(application(web), port) as address:
        yield address, engine, web
