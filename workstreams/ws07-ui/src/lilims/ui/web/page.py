"""The page's own files: HTML, style, modules, libraries. All of them ship with lilims; none comes from elsewhere.

Knows files and headers. Must not know what they do.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

__all__ = ["POLICY", "STATIC", "page_routes"]

STATIC = Path(__file__).parent / "static"
POLICY = "; ".join([
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types dompurify",
])  # fmt: skip
"""Nothing inline, nothing from elsewhere; only DOMPurify makes HTML."""
_HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
"""What differs from the headers that `lilims.ui.security` gives every answer."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".json": "application/json",
    ".LICENSE": "text/plain; charset=utf-8",
}


@lru_cache(maxsize=1)
def _files() -> dict[str, tuple[Path, str]]:
    """The files that are served, by their path below /web/: a table, so that no request names another."""
    return {
        path.relative_to(STATIC).as_posix(): (path, _TYPES[path.suffix])
        for path in sorted(STATIC.rglob("*"))
        if path.suffix in _TYPES
    }


@lru_cache(maxsize=128)
def _read(path: Path, changed: int) -> tuple[bytes, str]:
    data = path.read_bytes()
    return data, '"' + hashlib.sha256(data).hexdigest()[:24] + '"'


def _send(name: str, request: Request) -> Response:
    if name not in _files():
        return PlainTextResponse("not found\n", 404)
    path, kind = _files()[name]
    data, tag = _read(path, path.stat().st_mtime_ns)
    headers = _HEADERS | {"ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=kind)


def page_routes() -> list[BaseRoute]:
    """`/`, and everything below `/web/`."""

    def index(request: Request) -> Response:
        return _send("index.html", request)

    def file(request: Request) -> Response:
        return _send(request.path_params["path"], request)

    return [Route("/", index, methods=["GET"]), Route("/web/{path:path}", file, methods=["GET"])]
