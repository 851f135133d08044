"""One file from a server, whatever the server does: resumed where it broke off, hashed as it streams.

Knows ranges and validators of HTTP (RFC 9110, 13 and 14). Must not know what the file is.

What is asked for depends on what is there. With a known hash, bytes that have arrived are good for any server: the rest
is asked for, and the whole is judged by its hash. Without one, only the server can say that the rest belongs to what is
there: it is asked for under a condition (If-Range), else everything again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx2

from lilims.core.errors import IntegrityError, StorageError
from lilims.core.files import storage_errors

from ..backup import exclude
from ..errors import ModelTooLargeError
from ..gc import make_room
from ..space import check_room
from .area import Blob, Want
from .client import Client, Passing

__all__ = ["Report", "fetch", "fetch_small"]

_BLOCK = 1 << 20
_LOOK = 64 << 20  # bytes between two looks at quota and disk
_POLL = 0.1  # seconds
_MISMATCHES = 2  # whole downloads with a wrong hash before giving up

Report = Callable[[Want, int], None]
"""Called with a file and how many bytes of it are there."""


class _Restart(Exception):
    """What is there does not belong to what the server has: from the beginning."""


@dataclass
class _Writing:
    """A part that is being written."""

    blob: Blob
    file: IO[bytes]
    digest: Any = field(default_factory=hashlib.sha256)
    size: int = 0

    def reset(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.digest, self.size = hashlib.sha256(), 0

    def read_back(self) -> None:
        """Hashes what an earlier process has left."""
        while block := self.file.read(_BLOCK):
            self.digest.update(block)
            self.size += len(block)

    def add(self, block: bytes) -> None:
        with storage_errors(self.blob.part):
            self.file.write(block)
            if self.size // _LOOK != (self.size + len(block)) // _LOOK:
                check_room(0)
        self.digest.update(block)
        self.size += len(block)

    def sync(self) -> None:
        with storage_errors(self.blob.part):
            self.file.flush()
            os.fsync(self.file.fileno())


async def fetch(client: Client, want: Want, report: Report, take: Callable[[Path], None]) -> None:
    """Fetches a file into the downloads and gives it to `take`, which may link or copy it.

    Another process that fetches it is waited for. What an earlier one has fetched is not fetched again. Nobody removes
    the file while `take` has it.

    Raises:
        ModelNotFoundError, DownloadError, AddressError: the server has it not, refuses, or breaks off too often.
        IntegrityError: the server's bytes are others than were promised.
        ModelTooLargeError: it has more bytes than it may have.
        StorageError: the disk is full or cannot be written.
    """
    blob = want.blob
    while (lock := blob.lock()) is None:
        await asyncio.sleep(_POLL)
    try:
        if await asyncio.to_thread(blob.complete):
            report(want, blob.path.stat().st_size)
        else:
            await _fetch_locked(client, want, report)
        await asyncio.to_thread(take, blob.path)
    finally:
        lock.remove()


async def _fetch_locked(client: Client, want: Want, report: Report) -> None:
    blob = want.blob
    blob.reopen()
    with storage_errors(blob.part):
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(blob.part, flags, 0o666), "r+b", buffering=0)
    exclude(blob.path.parent)
    with file:
        writing = _Writing(blob, file)
        await asyncio.to_thread(writing.read_back)
        for mismatch in range(_MISMATCHES):
            await _bring(client, want, writing, report)
            if want.sha256 in (None, writing.digest.hexdigest()):
                break
            found = writing.digest.hexdigest()
            writing.reset()
            if mismatch == _MISMATCHES - 1:
                blob.drop()
                raise IntegrityError(
                    f"{want.name} has other bytes than its manifest records (SHA-256 {found[:16]}…)", where=want.url,
                    hint="the model was changed or damaged there: ask who offers it",
                )  # fmt: skip
        await asyncio.to_thread(writing.sync)
    blob.finish()
    report(want, writing.size)


async def _bring(client: Client, want: Want, writing: _Writing, report: Report) -> None:
    """Asks until all bytes are there."""
    failures, before = 0, writing.size
    while want.bytes is None or writing.size != want.bytes:
        if want.bytes is not None and writing.size > want.bytes:
            writing.reset()
        try:
            await _ask(client, want, writing, report)
            if want.bytes is None or writing.size == want.bytes:
                return
            raise Passing(f"the server ended after {writing.size} of {want.bytes} bytes")
        except _Restart:
            failed = Passing("the server changed what it sends")
            writing.reset()
        except Passing as exc:
            failed = exc
        failures = 1 if writing.size > before else failures + 1
        before = writing.size
        await client.wait(failures, failed, want.url)


async def _ask(client: Client, want: Want, writing: _Writing, report: Report) -> None:
    """One request, for what is missing."""
    url, validator = writing.blob.origin()
    headers = {}
    if writing.size and (want.sha256 or (url == want.url and validator)):
        headers["Range"] = f"bytes={writing.size}-"
        if url == want.url and validator:
            headers["If-Range"] = validator
    elif writing.size:
        writing.reset()
    async with client.get(want.url, headers) as response:
        if response.status_code == 416:
            total = re.fullmatch(r"bytes \*/(\d{1,18})", response.headers.get("Content-Range", ""))
            if "If-Range" in headers and total and int(total[1]) == writing.size:
                return  # nothing is behind what is there, and it is still the same
            raise _Restart
        if response.status_code == 206:
            _check_range(response, writing.size)
        else:
            writing.reset()
            await asyncio.to_thread(writing.blob.begin, want.url, _validator(response))
        if want.bytes is None:
            await asyncio.to_thread(_make_room, response, want.most - writing.size)
        report(want, writing.size)
        await _receive(response, want, writing, report)


async def _receive(response: httpx2.Response, want: Want, writing: _Writing, report: Report) -> None:
    """Takes the body, up to the bytes that are wanted: what a server says of its length is not relied on."""
    most = want.most if want.bytes is None else want.bytes
    async for block in response.aiter_raw():  # as it arrives: of a larger block a broken connection loses the beginning
        room = most - writing.size
        if want.bytes is None and len(block) > room:
            writing.blob.drop()
            raise ModelTooLargeError(
                f"has more than {most} bytes", where=want.url, hint="LILIMS_MAX_MODEL_GB allows larger models"
            )
        writing.add(block[:room])
        report(want, writing.size)
        if want.bytes is not None and writing.size == want.bytes:
            return


def _make_room(response: httpx2.Response, most: int) -> None:
    """Makes room for as much as the server announces; where there is none it goes on, since the server may be wrong."""
    announced = response.headers.get("Content-Length", "")
    if re.fullmatch(r"\d{1,18}", announced):
        with contextlib.suppress(StorageError):
            make_room(min(int(announced), most))


def _check_range(response: httpx2.Response, size: int) -> None:
    found = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != size:
        raise _Restart


def _validator(response: httpx2.Response) -> str | None:
    """What makes a later range conditional: an ETag that is not weak, else the date."""
    tag: str = response.headers.get("ETag", "")
    if tag.startswith('"'):
        return tag
    date: str | None = response.headers.get("Last-Modified")
    return date


async def fetch_small(client: Client, url: str, most: int) -> bytes:
    """A small file, into memory.

    Raises:
        ModelNotFoundError, DownloadError, AddressError: as `fetch`.
        IntegrityError: it has more than `most` bytes.
    """
    failures = 0
    while True:
        try:
            async with client.get(url, {}) as response:
                data = bytearray()
                async for block in response.aiter_raw():
                    data += block
                    if len(data) > most:
                        raise IntegrityError(f"has more than {most} bytes", where=url, hint="is it the right address?")
                return bytes(data)
        except Passing as failed:
            failures += 1
            await client.wait(failures, failed, url)
