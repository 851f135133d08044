"""The OpenAPI document, made of the same classes that read requests and write answers.

Knows paths and statuses. Must not know what an endpoint does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse

from . import requests as q
from . import responses as r

__all__ = ["document", "openapi"]

_ERRORS = {
    "400": "The request is wrong; `error.param` says where.",
    "401": "The API key is missing or wrong.",
    "403": "The Host or Origin header is not allowed.",
    "404": "There is no such model.",
    "408": "The body did not arrive in time.",
    "413": "The body is too long.",
    "415": "The body is not application/json.",
    "500": "The server failed.",
    "503": "Too many requests wait: Retry-After says when to come again. Or memory is short, or the server ends.",
}
_READ = ("401", "403", "500")
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
_STATUS = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
_LOADED = {
    "type": "object",
    "properties": {
        "models": {"type": "array", "items": {"type": "object"}},
        "running": {"type": "integer"},
        "waiting": {"type": "integer"},
    },
    "required": ["models", "running", "waiting"],
}
_UNLOADED = {
    "type": "object",
    "properties": {"model": {"type": "string"}, "unloaded": {"type": "boolean"}},
    "required": ["model", "unloaded"],
}
_NAME = {
    "name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
}  # fmt: skip


async def document(_http: HttpRequest) -> JSONResponse:
    """GET /openapi.json."""
    return JSONResponse(openapi())


@cache
def openapi() -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    from lilims.core import version

    modes: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        *((one, "validation") for one in (q.ChatRequest, q.CompletionRequest, q.UnloadRequest)),
        *((one, "serialization") for one in _ANSWERS),
    ]
    known, definitions = models_json_schema(modes, ref_template="#/components/schemas/{model}")
    refs = {one.__name__: known[one, mode] for one, mode in modes}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lilims",
            "version": version(),
            "description": "OpenAI's API for models on this machine.",
        },
        "paths": _paths(refs),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


_ANSWERS: tuple[type[BaseModel], ...] = (
    r.ChatAnswer, r.ChatChunk, r.CompletionAnswer, r.ModelList, r.Card, r.ErrorAnswer,
)  # fmt: skip


def _paths(refs: Mapping[str, Any]) -> dict[str, Any]:
    chat, text = (refs["ChatRequest"], refs["ChatAnswer"]), (refs["CompletionRequest"], refs["CompletionAnswer"])
    error = refs["ErrorAnswer"]
    return {
        "/v1/chat/completions": {"post": _post("Answers a conversation", "chat", *chat, error, streams=True)},
        "/v1/completions": {"post": _post("Continues a text", "complete", *text, error, streams=True)},
        "/v1/models": {"get": _get("The models", "models", refs["ModelList"], error)},
        "/v1/models/{model}": {
            "get": _get("One model", "model", refs["Card"], error, ("404",)) | {"parameters": [_NAME]}
        },
        "/health": {"get": _get("Whether the server answers", "health", _STATUS, error)},
        "/api/ps": {"get": _get("What is in memory", "ps", _LOADED, error)},
        "/api/unload": {
            "post": _post("Takes a model out of memory", "unload", refs["UnloadRequest"], _UNLOADED, error)
        },
    }


def _get(summary: str, name: str, answer: Any, error: Any, more: tuple[str, ...] = ()) -> dict[str, Any]:
    found = {"200": {"description": summary, "content": _json(answer)}}
    return {"summary": summary, "operationId": name, "responses": found | _errors((*_READ, *more), error)}


def _post(summary: str, name: str, body: Any, answer: Any, error: Any, *, streams: bool = False) -> dict[str, Any]:
    events = {"text/event-stream": {"schema": _EVENT}} if streams else {}
    found = {"200": {"description": summary, "content": _json(answer) | events}}
    return {
        "summary": summary,
        "operationId": name,
        "requestBody": {"required": True, "content": _json(body)},
        "responses": found | _errors(tuple(_ERRORS), error),
    }


def _errors(statuses: tuple[str, ...], error: Any) -> dict[str, Any]:
    return {status: {"description": _ERRORS[status], "content": _json(error)} for status in sorted(set(statuses))}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
