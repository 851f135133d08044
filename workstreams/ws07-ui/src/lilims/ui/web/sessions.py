"""Who has shown the API key: where the server wants one, the page asks for it once and gets a cookie.

A cookie, because streams and downloads of a browser bring no other header. Only hashes of its values are kept, in
memory. Knows cookies and keys. Must not know what is asked.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["Keys", "Sessions"]

_COOKIE = "lilims-session"
_MOST = 64


class Keys(Protocol):
    """Who knows the key: `lilims.ui.security.Access`."""

    api_key: str | None

    def key_allowed(self, authorization: str | None) -> bool:
        """Whether an Authorization header holds it, in constant time."""


class Sessions:
    """The browsers that may ask. Without a key all may."""

    def __init__(self, keys: Keys | None = None) -> None:
        self._keys = keys
        self._open: OrderedDict[str, None] = OrderedDict()

    def allowed(self, request: Request) -> bool:
        """Whether a request brings the key, or the cookie of a browser that has shown it."""
        if self._keys is None or self._keys.api_key is None:
            return True
        shown = request.cookies.get(_COOKIE)
        if shown is not None and _hash(shown) in self._open:
            return True
        return self._keys.key_allowed(request.headers.get("authorization"))

    def begin(self, key: str, response: Response, *, secure: bool) -> bool:
        """Gives a browser that shows the key a cookie; False if the key is wrong."""
        if self._keys is None or not self._keys.key_allowed(f"Bearer {key}"):
            return False
        value = secrets.token_urlsafe(32)
        self._open[_hash(value)] = None
        while len(self._open) > _MOST:
            self._open.popitem(last=False)
        response.set_cookie(_COOKIE, value, path="/web/api", httponly=True, samesite="strict", secure=secure)
        return True


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
