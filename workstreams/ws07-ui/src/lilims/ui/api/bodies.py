"""The body of a request: bytes that become JSON within bounds, then a request.

Knows JSON's bounds. Must not know what a request asks for.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from .errors import ApiError

__all__ = ["DEEPEST", "read_body"]

DEEPEST = 64
"""Lists and objects inside one another at most."""
M = TypeVar("M", bound=BaseModel)


async def read_body(request: Request, kind: type[M]) -> M:
    """The request in a body.

    Raises:
        ApiError: not JSON, too deep, too long or too slow.
        ValidationError: not what `kind` says.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != "application/json":  # what a form of another page can send without being asked first is not taken
        raise ApiError(415, "the body has to be application/json", "unsupported_media_type")
    try:
        content = await request.body()
    except ClientDisconnect:
        raise ApiError(400, "the body was cut off", "invalid_json") from None
    except HTTPException as exc:
        raise ApiError(exc.status_code, exc.detail, "request_too_large" if exc.status_code == 413 else None) from None
    try:
        value = from_json(content, allow_inf_nan=False, cache_strings="none")
    except ValueError as exc:
        raise ApiError(400, f"the body is not JSON: {exc}"[:300], "invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body is not a JSON object", "invalid_json")
    if _too_deep(value):
        raise ApiError(400, f"more than {DEEPEST} lists and objects inside one another", "invalid_json")
    return kind.model_validate(value)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        inner = [one for each in level for one in (each.values() if isinstance(each, dict) else each)]
        level = [one for one in inner if isinstance(one, (dict, list))]
        if not level:
            return False
    return True
