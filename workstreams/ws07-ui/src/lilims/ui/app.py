"""The application: the engine, the API, the page, and what protects them, put together.

Knows what is mounted where. Must not know how any of it works.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route

from lilims.core.errors import LilimsError

from .api.routes import answer_http, answer_unforeseen, api_routes
from .engine import Engine
from .metrics import Metrics
from .security import Access, Guard

__all__ = ["create_app"]


def create_app(
    engine: Engine, access: Access | None = None, *, web: bool = True, keep_alive: float = 10.0
) -> Starlette:
    """An ASGI application that starts the engine and stops it with its lifespan.

    Args:
        engine: not started yet.
        access: who may ask; None is this machine, without a key.
        web: with the web chat, where it is installed (`lilims.ui.web`).
        keep_alive: seconds of silence after which a stream gets a comment.
    """
    access = access or Access()
    metrics = Metrics(engine)
    routes: list[BaseRoute] = [*api_routes(), Route("/metrics", metrics.endpoint, methods=["GET"])]
    page = _page(engine, access) if web else None
    if page is not None:
        routes += page.routes()
        access = replace(access, private=())  # the page's API asks for the key itself, and gives a cookie for it

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            async with engine, page or nullcontext():
                yield
        except LilimsError as error:  # a server only logs it: whoever runs one says it
            app.state.failure = error
            raise

    middleware = [Middleware(metrics.measured), Middleware(Guard, access=access)]
    if access.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=access.origins,
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=["*"],
                max_age=600,
            )
        )
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=middleware,
        exception_handlers={HTTPException: answer_http, Exception: answer_unforeseen},
    )
    app.state.engine, app.state.keep_alive, app.state.failure = engine, keep_alive, None
    return app


def _page(engine: Engine, access: Access) -> Any:
    """The web chat on this engine, where it is there."""
    if find_spec("lilims.ui.web") is None:
        return None
    return import_module("lilims.ui.web").Web.of(engine, access)
