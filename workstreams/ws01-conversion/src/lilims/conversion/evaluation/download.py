"""Fetches a text for evaluation when a user names it, checks it, and keeps it below the cache folder.

Knows where the texts are and what they hash to. Must not be called by anything but `lilims data`: measuring reads what
is there. Beside sources/hub.py this is the one file that uses the network.

A text whose hash nobody has recorded here is pinned when it is first fetched: its hash is written beside it, and every
later look at it, and a second download, have to agree.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from lilims.core.errors import InputError, IntegrityError, ModelNotFoundError, UnsupportedError
from lilims.core.events import emit
from lilims.core.files import read_json, storage_errors, write_atomic, write_json
from lilims.core.paths import cache_dir

__all__ = ["SOURCES", "DataSource", "fetch", "is_there", "local_path"]

_BLOCK = 1 << 16
_SECONDS = 60  # without a byte


@dataclass(frozen=True)
class DataSource:
    """A text on the network.

    Attributes:
        url: https; http to this machine alone.
        title: what it is, and its licence.
        most: bytes that the download may have; `most_text` those of the text.
        member: the text's name in the archive, if the download is a zip.
        sha256: of the download; None is pinned on first use.
        text_sha256: of the text itself; None where the download's says enough.
    """

    url: str
    title: str
    most: int
    member: str | None = None
    sha256: str | None = None
    text_sha256: str | None = None


# Hash and commit of wikitext2 are those that llama.cpp's users publish for the archive its own scripts fetch.
SOURCES: Mapping[str, DataSource] = {
    "wikitext2": DataSource(
        url="https://huggingface.co/datasets/ggml-org/ci/resolve/927b3642933080f1b0e811e2f916e14c292992f9/"
        "wikitext-2-raw-v1.zip",
        title="WikiText-2, raw, test: Wikipedia articles, CC BY-SA; the text that llama.cpp's figures are about",
        most=8 << 20,
        member="wikitext-2-raw/wiki.test.raw",
        sha256="ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
        text_sha256="173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
    ),
    "tinystories": DataSource(
        url="https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-valid.txt",
        title="TinyStories V2, validation: stories for children that GPT-4 wrote, CDLA-Sharing; pinned on first use",
        most=32 << 20,
    ),
}


def _folder(name: str) -> Path:
    return cache_dir() / "texts" / name


def is_there(name: str) -> bool:
    """Whether a text was fetched. Its hash is not looked at."""
    return (_folder(name) / "text.txt").is_file() and (_folder(name) / "pinned.json").is_file()


def local_path(name: str, sources: Mapping[str, DataSource] | None = None) -> Path:
    """Where a text lies that was fetched; its hash is checked each time.

    Raises:
        InputError: it was not fetched.
        IntegrityError: it was changed since.
    """
    source, path = (SOURCES if sources is None else sources)[name], _folder(name) / "text.txt"
    if not is_there(name):
        raise InputError(
            f"the text {name!r} is not on this machine", hint=f"fetch it once: lilims data {name}; or name a file"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    for wanted in filter(None, (_pinned(name), source.text_sha256)):
        if found != wanted:
            raise IntegrityError(
                "its bytes differ from those that were fetched", where=path, hint=f"lilims data {name} --force"
            )
    return path


def _pinned(name: str) -> str | None:
    """The hash of the text that was fetched first, if one was."""
    path = _folder(name) / "pinned.json"
    if not path.is_file():
        return None
    found = read_json(path, limit=1 << 16)
    pinned = found.get("text_sha256") if isinstance(found, dict) else None
    if not isinstance(pinned, str):
        raise InputError("has no text_sha256", where=path, hint="delete this file to pin the text anew")
    return pinned


def fetch(name: str, *, force: bool = False, sources: Mapping[str, DataSource] | None = None) -> Path:
    """Downloads a text, unless it is there; returns where it lies.

    Args:
        force: fetch it again, and demand the same bytes as before.
        sources: other places than `SOURCES`.

    Raises:
        UnsupportedError: the network is switched off.
        ModelNotFoundError: the server cannot be reached or has it not.
        IntegrityError: the bytes are not those that are recorded or pinned; what was there stays.
    """
    table = SOURCES if sources is None else sources
    if is_there(name) and not force:
        return local_path(name, table)
    source = table[name]
    raw = _download(name, source)
    _check(source.url, raw, source.sha256, "the download")
    text = raw if source.member is None else _unpacked(source, raw)
    for wanted in (source.text_sha256, _pinned(name)):
        _check(source.url, text, wanted, "the text")
    folder = _folder(name)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "text.txt", text)
    pinned = {"url": source.url, "sha256": _sha256(raw), "text_sha256": _sha256(text), "bytes": len(text)}
    write_json(folder / "pinned.json", pinned)
    return folder / "text.txt"


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _check(url: str, raw: bytes, wanted: str | None, what: str) -> None:
    if wanted is not None and _sha256(raw) != wanted:
        raise IntegrityError(
            f"{what} has the SHA-256 {_sha256(raw)}, not {wanted}",
            where=url,
            hint="it was changed there, or on the way: nothing was kept; a file of your own always works",
        )


def _download(name: str, source: DataSource) -> bytes:
    from lilims.core.settings import settings

    if settings().offline:
        raise UnsupportedError(
            f"{name!r} would have to be downloaded, and the network is switched off (LILIMS_OFFLINE)",
            where=source.url,
            hint="fetch it elsewhere and name the file: lilims eval MODEL --text FILE",
        )
    found, done = io.BytesIO(), 0
    try:
        with _opener().open(Request(_allowed(source.url), headers={"User-Agent": "lilims"}), timeout=_SECONDS) as reply:
            total = int(reply.headers.get("Content-Length") or 0)
            while block := reply.read(_BLOCK):
                found.write(block)
                done += len(block)
                if done > source.most:
                    raise IntegrityError(f"is larger than {source.most} bytes", where=source.url)
                emit("data.block", done=done, total=total or None)
    except (OSError, http.client.HTTPException, ValueError) as exc:  # URLError and timeouts are OSErrors
        reason = exc.reason if isinstance(exc, URLError) else exc
        if isinstance(exc, HTTPError):  # it holds the reply
            reason = f"{exc.code} {exc.reason}"
            exc.close()
        raise ModelNotFoundError(
            f"cannot be fetched ({reason})",
            where=source.url,
            hint="check the network and try again; or fetch it elsewhere and name the file: --text FILE",
        ) from exc
    if total and done != total:
        raise IntegrityError(f"only {done} of {total} bytes came", where=source.url, hint="try again")
    return found.getvalue()


class _Secure(HTTPRedirectHandler):
    """Follows no redirection to an insecure place."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        try:
            _allowed(newurl)
        except UnsupportedError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> OpenerDirector:
    return build_opener(_Secure())


def _allowed(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return url
    raise UnsupportedError("is not https", where=url, hint="a text is fetched by https alone")


def _unpacked(source: DataSource, raw: bytes) -> bytes:
    """The text in an archive; only the one member is read, up to its own limit."""
    assert source.member is not None
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive, archive.open(source.member) as file:
            text = file.read(source.most * 4 + 1)
    except (zipfile.BadZipFile, KeyError, RuntimeError, EOFError, NotImplementedError) as exc:
        raise IntegrityError(f"is no archive with {source.member}: {exc}", where=source.url) from exc
    if len(text) > source.most * 4:
        raise IntegrityError(f"{source.member} is larger than {source.most * 4} bytes", where=source.url)
    return text


def pinned(name: str) -> dict[str, object]:
    """What is recorded of a text that was fetched: url, hashes, bytes; empty where none was."""
    path = _folder(name) / "pinned.json"
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
