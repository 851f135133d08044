"""Paths of the API, and what becomes of errors that its endpoints raise.

Knows paths. Must not know what lies behind them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from .chat import chat_completions
from .completions import completions
from .document import document
from .errors import ApiError, api_error, error_response
from .models import health, list_models, list_running, show_model, unload_model

__all__ = ["answer_http", "answer_unforeseen", "api_routes"]

_LOG = logging.getLogger("lilims.ui")
Endpoint = Callable[[HttpRequest], Awaitable[ASGIApp]]


def api_routes() -> list[BaseRoute]:
    """Every path of the API."""
    get: dict[str, Endpoint] = {
        "/health": health,
        "/openapi.json": document,
        "/v1/models": list_models,
        "/v1/models/{model}": show_model,
        "/api/ps": list_running,
    }
    post: dict[str, Endpoint] = {
        "/v1/chat/completions": chat_completions,
        "/v1/completions": completions,
        "/api/unload": unload_model,
    }
    return [
        *(Route(path, _guarded(endpoint), methods=["GET"]) for path, endpoint in get.items()),
        *(Route(path, _guarded(endpoint), methods=["POST"]) for path, endpoint in post.items()),
    ]


def _guarded(endpoint: Endpoint) -> Endpoint:
    """The endpoint, whose errors become answers in OpenAI's form."""

    async def answer(http: HttpRequest) -> ASGIApp:
        try:
            return await endpoint(http)
        except HTTPException:
            raise
        except Exception as error:
            known = api_error(error)
            if known.status == 500:
                _LOG.error("%s failed", http.url.path, exc_info=error)
            return error_response(known)

    return answer


async def answer_http(http: HttpRequest, error: Exception) -> Response:
    """Errors of routing and of bodies: no such path, another method, too long, too slow."""
    assert isinstance(error, HTTPException)
    code = {404: "unknown_url", 405: "method_not_allowed", 413: "request_too_large"}.get(error.status_code)
    path, message, hint = http.url.path[:100], error.detail, None
    if error.status_code == 404:
        message, hint = f"there is no {path}", "the API is below /v1; /openapi.json lists its paths"
    if error.status_code == 405:
        message = f"{path} takes {(error.headers or {}).get('Allow', 'other methods')}, not {http.method}"
    response = error_response(ApiError(error.status_code, message, code, hint=hint))
    response.headers.update(error.headers or {})
    return response


async def answer_unforeseen(_http: HttpRequest, error: Exception) -> Response:
    """Whatever else happens: of what kind it is, no more."""
    return error_response(api_error(error))
