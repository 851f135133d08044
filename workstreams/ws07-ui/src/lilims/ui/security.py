"""Who may ask, and how much: Host, Origin, API key, sizes, and the headers that browsers keep to.

Knows HTTP's headers and one configuration. Must not know what is asked for.

    Host      a name or address that this server has: a page whose name was made to point here (DNS rebinding) has
              another
    Origin    absent, our own, or one of the allow-list: no other page may ask, whether or not it could read the answer
    API key   where there is one, on every path but the public ones; compared in constant time
    body      bounded in bytes and in the seconds it may take

The document https://fetch.spec.whatwg.org/#http-cors-protocol says what browsers ask before they send.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lilims.core.errors import UsageError

from .api.errors import ApiError, error_response

__all__ = ["Access", "Guard", "host_name", "is_loopback"]

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^\s/?#@,\"'<>*]{1,255}")
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_BODILESS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Access:
    """What is allowed.

    Attributes:
        hosts: names and addresses that requests may call this server, without a port. With `any_address` also every
            IP address: a page cannot be made to have one as its name.
        origins: further origins whose pages may ask, such as `http://localhost:3000`.
        api_key: what `Authorization: Bearer …` has to hold; None asks for none.
        public: paths that need no key; those that end in / with everything below them, but `private` ones.
        body_bytes, body_seconds: the most of a request's body, and of the time until all of it is there.

    Raises:
        UsageError: an origin is none, or an API key is empty or has other than visible ASCII characters.
    """

    hosts: frozenset[str] = frozenset({"localhost", "127.0.0.1", "::1"})
    any_address: bool = False
    origins: tuple[str, ...] = ()
    api_key: str | None = None
    public: tuple[str, ...] = ("/health", "/", "/web/")
    private: tuple[str, ...] = ("/web/api/",)
    body_bytes: int = 8 << 20
    body_seconds: float = 30.0

    def __post_init__(self) -> None:
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise UsageError(f"{origin!r} is not an origin", hint="such as http://localhost:3000; * is not taken")
        if self.api_key is not None and not re.fullmatch(r"[!-~]{1,512}", self.api_key):
            raise UsageError("an API key has 1 to 512 visible ASCII characters", hint="openssl rand -hex 32 makes one")

    @classmethod
    def of(
        cls, host: str, *, hosts: Iterable[str] = (), origins: Iterable[str] = (), api_key: str | None = None
    ) -> Access:
        """What follows from the address that the server listens on; `hosts` are further names that it has.

        Raises:
            UsageError: a name is none that a Host header could have, or as the class.
        """
        names = {"localhost", "127.0.0.1", "::1", *map(_name, hosts)}
        bound = host.lower().strip("[]")
        everywhere = bound in ("0.0.0.0", "::", "")
        if not everywhere:
            names.add(bound)
        return cls(
            frozenset(names),
            any_address=everywhere,
            origins=tuple(one.lower().rstrip("/") for one in origins),
            api_key=api_key or None,
        )

    def host_allowed(self, header: str) -> bool:
        """Whether a Host header names this server."""
        name = host_name(header)
        if name is None:
            return False
        return name in self.hosts or (self.any_address and _is_address(name))

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Whether a page of that origin may ask; `host` is the request's Host header, which is allowed."""
        own = origin.lower().removeprefix("http://").removeprefix("https://")
        return origin.lower() in self.origins or ("://" in origin and own == host.lower())

    def key_allowed(self, authorization: str | None) -> bool:
        """Whether an Authorization header holds the key. Takes as long for a wrong key as for a right one."""
        if self.api_key is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        same = hmac.compare_digest(_digest(given.strip()), _digest(self.api_key))
        return same and scheme.lower() == "bearer"

    def is_public(self, path: str) -> bool:
        """Whether a path needs no key."""
        if path.startswith(self.private):
            return False
        return any(path == one or (one != "/" and one.endswith("/") and path.startswith(one)) for one in self.public)


class Guard:
    """ASGI middleware: refuses what is not allowed, before anything of it is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message))
            await send(message)

        problem = self._problem(scope, headers)
        if problem is not None:
            await error_response(problem)(scope, receive, answer)
            return
        bounded = _Bounded(receive, self._access.body_bytes, self._access.body_seconds)
        await self._app(scope, bounded, answer)

    def _problem(self, scope: Scope, headers: Headers) -> ApiError | None:
        access, hosts, origins = self._access, headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not access.host_allowed(hosts[0]):
            return ApiError(
                403, "this server is not called that: the Host header is not allowed", "invalid_host",
                hint="`lilims serve --allow-host NAME` allows a name",
            )  # fmt: skip
        if len(origins) > 1 or (origins and not access.origin_allowed(origins[0], hosts[0])):
            return ApiError(
                403, "pages of this origin may not ask", "invalid_origin",
                hint="`lilims serve --cors-origin ORIGIN` allows one",
            )  # fmt: skip
        preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        if not (preflight or access.is_public(scope["path"]) or access.key_allowed(headers.get("authorization"))):
            what = "Incorrect API key provided" if "authorization" in headers else "You didn't provide an API key"
            return ApiError(401, f"{what}: Authorization: Bearer KEY", "invalid_api_key")
        length = headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,18}", length) or int(length) > access.body_bytes:
            return ApiError(413, f"the body has more than {access.body_bytes} bytes", "request_too_large")
        return None


class _Bounded:
    """`receive` that refuses a body which is too long or comes too slowly. What comes behind it may take its time."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive = receive
        self._most = most
        self._seconds = seconds
        self._left: float | None = time.monotonic() + seconds
        self._seen = 0

    async def __call__(self) -> Message:
        if self._left is None:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.01, self._left - time.monotonic()))
        except TimeoutError:
            raise HTTPException(408, f"the body did not arrive within {self._seconds:g} seconds") from None
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._most:
                raise HTTPException(413, f"the body has more than {self._most} bytes")
            if not message.get("more_body", False):
                self._left = None
        return message


def host_name(header: str) -> str | None:
    """The name in a Host header, lower case and without brackets or port; None where it is no name."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?", header)
    return None if found is None else (found[1] or found[2]).lower().rstrip(".")


def _name(given: str) -> str:
    """A name of this server as `host_name` finds it in a request."""
    plain = given.strip("[]")
    name = host_name(f"[{plain}]" if ":" in plain else plain)
    if name is None:
        raise UsageError(
            f"{given!r} is not a host name", hint="such as chat.example.org, without scheme, port and path"
        )
    return name


def is_loopback(host: str) -> bool:
    """Whether an address or name that a server listens on can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _digest(text: str) -> bytes:
    """Of one length whatever the text's, so that comparing tells nothing of it."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _add_headers(headers: MutableHeaders) -> None:
    """Those of data; what answers with a page sets its own policy and caching beforehand."""
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
