"""Which addresses may be asked.

Knows https, http to this machine, and which addresses lie inside private networks. Must not know what is fetched.

A name is checked as it is written, and again as what it has led to: each connection's peer, before anything is sent, so
that neither a redirection nor a name server can lead into a private network. Where a proxy connects, its peer is the
proxy: then only addresses that are written as numbers can be checked.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx2

from ..errors import AddressError

__all__ = ["Policy", "parse"]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse(text: str) -> httpx2.URL:
    """An address of a file on a server.

    Raises:
        AddressError: it is not one.
    """
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as exc:
        raise AddressError(f"is not an address ({exc})", where=text) from exc
    return url


@dataclass(frozen=True)
class Policy:
    """What may be asked.

    Attributes:
        private: addresses of private networks and of this machine too.
        loopback: this machine too, also by http: the user has named it.
    """

    private: bool = False
    loopback: bool = False

    @classmethod
    def of(cls, text: str, *, private: bool = False) -> Policy:
        """The policy for what a user has named.

        Raises:
            AddressError: that is not to be asked itself.
        """
        policy = cls(private=private, loopback=_is_loopback(parse(text).host))
        policy.check(parse(text))
        return policy

    def check(self, url: httpx2.URL) -> None:
        """Refuses an address by what is written in it.

        Raises:
            AddressError: it is refused.
        """
        where = str(url.copy_with(userinfo=b""))
        if not url.host:
            raise AddressError("names no server", where=where)
        if url.userinfo:
            raise AddressError("names a user or a password", where=where, hint="leave it out of the address")
        here = _is_loopback(url.host)
        if url.scheme != "https" and not (url.scheme == "http" and here):
            raise AddressError("is not https", where=where, hint="models come by https alone; http to this machine")
        if here and not (self.loopback or self.private):
            raise AddressError("leads to this machine", where=where, hint="--allow-private allows it")
        number = _number(url.host)
        if number is not None:
            self._check_number(number, where)

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpx2's `trace` extension: refuses a connection to an address inside, before a request is sent on it.

        Raises:
            AddressError: it is refused.
        """
        if not event.endswith("connect_tcp.complete"):
            return
        stream = info["return_value"]
        peer = stream.get_extra_info("server_addr")
        number = _number(str(peer[0]).partition("%")[0]) if peer else None
        if number is None:
            return
        try:
            self._check_number(number, str(number))
        except AddressError:
            await stream.aclose()  # nobody else knows of it yet
            raise

    def extensions(self, url: httpx2.URL) -> dict[str, Any]:
        """Extensions of a request that carry the check."""
        return {} if _proxied(url) else {"trace": self.trace}

    def _check_number(self, address: _Address, where: str) -> None:
        address = _inner(address)
        if self.private or (address.is_loopback and self.loopback) or (address.is_global and not address.is_multicast):
            return
        raise AddressError(
            f"{address} is inside a private network", where=where, hint="--allow-private allows it, if it is yours"
        )


def _is_loopback(host: str) -> bool:
    number = _number(host)
    return _inner(number).is_loopback if number else host == "localhost" or host.endswith(".localhost")


def _number(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _inner(address: _Address) -> _Address:
    """The address of version 4 that one of version 6 stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def _proxied(url: httpx2.URL) -> bool:
    proxies = getproxies()
    return (url.scheme in proxies or "all" in proxies) and not proxy_bypass(url.host)
