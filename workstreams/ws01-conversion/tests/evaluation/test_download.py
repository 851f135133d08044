"""Texts from the network, against a server of this machine; nothing of it is asked before a user does."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from lilims.conversion.evaluation import download
from lilims.conversion.evaluation.download import SOURCES, DataSource, fetch, is_there, local_path
from lilims.core.errors import InputError, IntegrityError, ModelNotFoundError, UnsupportedError
from lilims.core.settings import settings

TEXT = "Once upon a time.\r\nNaïve.\n".encode()


def zipped(**members: bytes) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return raw.getvalue()


class Server:
    def __init__(self) -> None:
        self.replies: dict[str, bytes | str | int] = {}  # a body, where it was moved to, or a status
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                reply = outer.replies.get(self.path, 404)
                if isinstance(reply, bytes):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(reply) + (7 if "short" in self.path else 0)))
                    self.end_headers()
                    self.wfile.write(reply)
                    return
                self.send_response(302 if isinstance(reply, str) else reply)
                if isinstance(reply, str):
                    self.send_header("Location", reply)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def machine() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def server(machine: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(download, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setenv("no_proxy", "*")
    machine.replies, machine.asked = {}, []
    return machine


def source(server: Server, path: str = "/text", **more: object) -> dict[str, DataSource]:
    return {"it": DataSource(url=server.url + path, title="", most=1000, **more)}  # type: ignore[arg-type]


def sha(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def test_fetched_once_and_kept(server: Server) -> None:
    server.replies["/text"] = TEXT
    sources = source(server, sha256=sha(TEXT))
    assert not is_there("it")
    assert fetch("it", sources=sources).read_bytes() == TEXT
    assert fetch("it", sources=sources) == local_path("it", sources)
    assert server.asked == ["/text"]


def test_an_archive(server: Server) -> None:
    raw = zipped(**{"a/b.raw": TEXT, "../../evil": b"x"})
    server.replies["/zip"] = raw
    sources = source(server, "/zip", member="a/b.raw", sha256=sha(raw), text_sha256=sha(TEXT))
    path = fetch("it", sources=sources)
    assert path.read_bytes() == TEXT
    assert sorted(p.name for p in path.parent.iterdir()) == ["pinned.json", "text.txt"]


def test_pinned_on_first_use(server: Server) -> None:
    """Without a recorded hash the first download counts: another text is refused, and the first stays."""
    server.replies["/text"] = TEXT
    sources = source(server)
    path = fetch("it", sources=sources)
    server.replies["/text"] = TEXT + b"!"
    with pytest.raises(IntegrityError, match=f"not {sha(TEXT)}"):
        fetch("it", force=True, sources=sources)
    assert path.read_bytes() == TEXT
    server.replies["/text"] = TEXT
    assert fetch("it", force=True, sources=sources).read_bytes() == TEXT
    assert len(server.asked) == 3


def test_a_changed_file_is_noticed(server: Server) -> None:
    server.replies["/text"] = TEXT
    sources = source(server)
    fetch("it", sources=sources).write_bytes(TEXT[:-1])
    with pytest.raises(IntegrityError, match="differ from those that were fetched"):
        local_path("it", sources)
    assert fetch("it", force=True, sources=sources).read_bytes() == TEXT


WRONG = {
    "another text": ("/text", TEXT, {"sha256": "0" * 64}, IntegrityError, "the download has the SHA-256"),
    "too large": ("/text", b"x" * 1001, {}, IntegrityError, "is larger than 1000 bytes"),
    "cut short": ("/short", TEXT, {}, (IntegrityError, ModelNotFoundError), "bytes|IncompleteRead"),
    "not there": ("/text", 404, {}, ModelNotFoundError, "cannot be fetched"),
    "no archive": ("/text", TEXT, {"member": "a"}, IntegrityError, "is no archive with a"),
    "no member": ("/text", zipped(b=TEXT), {"member": "a"}, IntegrityError, "is no archive with a"),
    "a large member": ("/text", zipped(a=b"x" * 100_000), {"member": "a"}, IntegrityError, "a is larger than 4000"),
    "another member": ("/text", zipped(a=TEXT), {"member": "a", "text_sha256": "0" * 64}, IntegrityError,
                       "the text has"),
    "moved to an insecure place": ("/text", "http://example.com/x", {}, UnsupportedError, "is not https"),
    "moved to a file": ("/text", "file:///etc/hosts", {}, (UnsupportedError, ModelNotFoundError), "https|fetched"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_and_leaves_nothing(server: Server, name: str) -> None:
    path, reply, more, error, message = WRONG[name]
    server.replies[path] = reply  # type: ignore[assignment]
    with pytest.raises(error, match=message) as caught:  # type: ignore[arg-type]
        fetch("it", sources=source(server, path, **more))  # type: ignore[arg-type]
    assert caught.value.where is not None
    assert not is_there("it")


def test_nobody_answers(server: Server) -> None:
    with pytest.raises(ModelNotFoundError, match="cannot be fetched"):
        fetch("it", sources={"it": DataSource("http://127.0.0.1:1/x", "", 10)})


def test_http_is_for_this_machine_alone(server: Server) -> None:
    for url in ("http://example.com/x", "ftp://example.com/x", "file:///etc/hosts"):
        with pytest.raises(UnsupportedError, match="is not https"):
            fetch("it", sources={"it": DataSource(url, "", 10)})


def test_offline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_OFFLINE", "1")
    settings.cache_clear()
    try:
        with pytest.raises(UnsupportedError, match="the network is switched off") as caught:
            fetch("it", sources=source(server))
    finally:
        monkeypatch.delenv("LILIMS_OFFLINE")
        settings.cache_clear()
    assert "name the file" in (caught.value.hint or "")
    assert server.asked == []


def test_what_was_not_fetched_says_how(server: Server) -> None:
    with pytest.raises(InputError, match="'wikitext2' is not on this machine") as caught:
        local_path("wikitext2")
    assert "lilims data wikitext2" in (caught.value.hint or "")


def test_the_sources() -> None:
    assert set(SOURCES) == {"wikitext2", "tinystories"}
    for one in SOURCES.values():
        assert one.url.startswith("https://") and one.title and one.most < 64 << 20
