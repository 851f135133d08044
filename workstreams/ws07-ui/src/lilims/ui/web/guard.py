"""What every request of the page passes: it comes from the page itself, its body is small JSON; errors as JSON.

The server around it checks Host (DNS rebinding) and the API key. Knows HTTP. Must not know what is asked.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lilims.core.errors import LilimsError

from .errors import NotAllowedError, RequestError, status_of

__all__ = ["body", "endpoint", "failure", "same_origin"]

BODY = 2 << 20  # bytes of a request
Endpoint = Callable[[Request], Awaitable[Response]]


def same_origin(request: Request) -> bool:
    """Whether the page itself asks: no other site's page, by what browsers say of it, and no form."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin, host = request.headers.get("origin"), request.headers.get("host", "").lower()
    own = (f"http://{host}", f"https://{host}")  # behind a proxy that ends TLS the page's scheme is not ours
    if site not in ("same-origin", "none") or (origin is not None and origin.lower() not in own):
        return False
    if request.method in ("GET", "HEAD"):
        return True
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def body(request: Request, *, limit: int = BODY) -> dict[str, Any]:
    """The JSON object that a request brings.

    Raises:
        RequestError: it is larger than `limit` bytes, or no JSON object.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > limit:
            raise RequestError(f"this is more than {limit >> 20} MiB", hint="send less at once")
    try:
        value = json.loads(raw or b"{}")
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RequestError("the request has half a character", hint="an escape such as \\ud800 stands alone") from error
    except (ValueError, RecursionError) as error:
        raise RequestError("the request is no JSON") from error
    if not isinstance(value, dict):
        raise RequestError("the request is no JSON object")
    return value


def _refused(status: int, message: str, code: str) -> JSONResponse:
    error = {"type": "NotAllowedError", "message": message, "hint": None, "code": code}
    return JSONResponse({"error": error}, status)


def failure(error: LilimsError) -> JSONResponse:
    """An error as the page shows it."""
    code = error.code if isinstance(error, NotAllowedError) else None
    value = {"type": type(error).__name__, "message": str(error), "hint": error.hint, "code": code}
    return JSONResponse({"error": value}, status_of(error))


def endpoint(handler: Endpoint, allowed: Callable[[Request], bool]) -> Endpoint:
    """A handler behind the checks, whose errors are answered as JSON, and whose answers no cache keeps."""

    @wraps(handler)
    async def guarded(request: Request) -> Response:
        if not same_origin(request):
            return _refused(403, "only lilims' own page may ask this", "cross_origin")
        if not allowed(request):
            return _refused(401, "this server wants its API key", "key_needed")
        try:
            response = await handler(request)
        except LilimsError as error:
            response = failure(error)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return guarded
