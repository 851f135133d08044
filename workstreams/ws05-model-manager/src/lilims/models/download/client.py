"""One request to a server: redirections followed and checked, failures told apart.

Knows httpx2, status codes, and which failures may pass. Must not know what becomes of the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import functools
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import httpx2

from lilims.core.errors import ModelNotFoundError

from ..errors import DownloadError
from .address import Policy, parse
from .patience import Patience

__all__ = ["Client", "Passing", "open_client"]

_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 5
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that may be others a moment later


class Passing(Exception):
    """A failure that may pass: a connection that breaks or stalls, a server that is busy.

    Attributes:
        pause: seconds that the server asks to wait, or None.
    """

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


@dataclass
class Client:
    """Asks servers, each hop as the policy allows."""

    http: httpx2.AsyncClient
    policy: Policy
    patience: Patience = field(default_factory=Patience)

    @contextlib.asynccontextmanager
    async def get(self, address: str, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        """The response to a GET, of status 200, 206 or 416, with its body still to come.

        Raises:
            AddressError: the address, or one that it leads to, is not to be asked.
            ModelNotFoundError: there is no such file.
            DownloadError: the server refuses.
            Passing: it may answer later.
        """
        url = parse(address)
        for _ in range(_MOST_REDIRECTS + 1):
            self.policy.check(url)
            response = await self._send(url, headers)
            try:
                if response.status_code not in _REDIRECTS:
                    _judge(response, address)
                    yield response
                    return
                url = _next(response, address)
            except httpx2.TransportError as exc:  # while the body is read
                raise Passing(_words(exc)) from exc
            finally:
                await response.aclose()
        raise DownloadError(f"redirects more than {_MOST_REDIRECTS} times", where=address)

    async def _send(self, url: httpx2.URL, headers: Mapping[str, str]) -> httpx2.Response:
        request = self.http.build_request("GET", url, headers=headers, extensions=self.policy.extensions(url))
        try:
            return await self.http.send(request, stream=True)
        except httpx2.TransportError as exc:
            if _untrusted(exc):
                raise DownloadError(
                    "its certificate is not trusted",
                    where=str(url),
                    hint="is the address right, and the clock?",
                ) from exc
            raise Passing(_words(exc)) from exc

    async def wait(self, failures: int, failed: Passing, address: str) -> None:
        """Waits before the next try.

        Raises:
            DownloadError: there were too many in a row.
        """
        if failures >= self.patience.attempts:
            raise DownloadError(f"gave up after {failures} tries: {failed}", where=address) from failed
        await asyncio.sleep(self.patience.pause(failures, failed.pause))


@contextlib.asynccontextmanager
async def open_client(policy: Policy, patience: Patience | None = None, jobs: int = 4) -> AsyncIterator[Client]:
    """A client for the files of one model."""
    from lilims.core import version

    patience = patience or Patience()
    async with httpx2.AsyncClient(
        verify=_certificates(),
        timeout=httpx2.Timeout(patience.silence, connect=patience.connect, pool=None),
        limits=httpx2.Limits(max_connections=jobs),
        headers={"User-Agent": f"lilims/{version()}", "Accept-Encoding": "identity"},
    ) as http:
        yield Client(http, policy, patience)


@functools.cache
def _certificates() -> ssl.SSLContext:
    """The system's certificates, read once a process."""
    return httpx2.create_ssl_context()


def _next(response: httpx2.Response, address: str) -> httpx2.URL:
    try:
        return response.url.join(response.headers["Location"])
    except (KeyError, httpx2.InvalidURL, ValueError) as exc:
        raise DownloadError("redirects to nowhere", where=address) from exc


def _judge(response: httpx2.Response, address: str) -> None:
    status = response.status_code
    if status in _PASSING:
        raise Passing(f"the server answers {status} {response.reason_phrase}", _retry_after(response))
    if status in (404, 410):
        raise ModelNotFoundError("the server has no such file", where=address, hint="check the address")
    if status in (401, 403):
        raise DownloadError(f"the server refuses ({status})", where=address, hint="is the model public?")
    if status not in (200, 206, 416):
        raise DownloadError(f"the server answers {status}", where=address, hint="check the address")
    if response.headers.get("Content-Encoding", "identity") not in ("identity", ""):
        raise DownloadError("the server compresses what it was asked for as it is", where=address)


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds, or a date, as RFC 9110 has them."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text[:6])
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _untrusted(exc: BaseException | None) -> bool:
    """Whether a certificate's failure is behind an error: no later try changes that."""
    while exc is not None:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def _words(exc: Exception) -> str:
    """What failed, for people."""
    kinds = {
        httpx2.ConnectTimeout: "the server does not answer",
        httpx2.ReadTimeout: "the server has fallen silent",
        httpx2.ConnectError: "the server cannot be reached",
    }
    words = next((text for kind, text in kinds.items() if isinstance(exc, kind)), "the connection broke off")
    return f"{words} ({exc})" if str(exc) else words
