"""GET /v1/models, and which of them are in memory.

Knows cards. Must not know how models are loaded.
"""

from __future__ import annotations

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from ..engine import Card, Engine
from . import responses as r
from .bodies import read_body
from .chat import json_response
from .requests import UnloadRequest

__all__ = ["health", "list_models", "list_running", "show_model", "unload_model"]


async def list_models(http: HttpRequest) -> Response:
    """Every model that can run here."""
    engine: Engine = http.app.state.engine
    return json_response(r.ModelList(data=[_told(card) for card in engine.cards() if card.problem is None]))


async def show_model(http: HttpRequest) -> Response:
    """One of them. The name is looked up, and nothing else."""
    engine: Engine = http.app.state.engine
    return json_response(_told(engine.card(http.path_params["model"])))


async def list_running(http: HttpRequest) -> Response:
    """What is in memory, and how many requests run and wait: `lilims ps`."""
    engine: Engine = http.app.state.engine
    return JSONResponse({"models": engine.loaded(), "running": engine.running, "waiting": engine.waiting})


async def unload_model(http: HttpRequest) -> Response:
    """Takes a model out of memory, once nobody uses it: `lilims ps --unload`."""
    engine: Engine = http.app.state.engine
    asked = await read_body(http, UnloadRequest)
    return JSONResponse({"model": engine.card(asked.model).name, "unloaded": engine.unload(asked.model)})


async def health(http: HttpRequest) -> Response:
    """That the server answers; anybody may ask, so it says no more."""
    return JSONResponse({"status": "ok"})


def _told(card: Card) -> r.Card:
    return r.Card(
        id=card.name,
        created=card.created,
        owned_by="lilims" if card.built_in else "user",
        context=card.context,
        parameters=card.parameters,
        bytes=card.bytes or None,
        scheme=card.scheme,
        bits_per_weight=card.bits_per_weight,
        loaded=card.loaded,
        quality=list(card.quality),
    )
