"""A web server on this machine that can do whatever a bad one does, and notes what it was asked and what it sent."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Asked", "Server", "serving"]


@dataclass
class Asked:
    """A request: its path, where its range begins (None: no range), the condition of it, and how much was sent."""

    path: str
    start: int | None
    condition: str | None
    sent: int = 0


@dataclass
class Server:
    """Serves `files`. `faults` of a path are used up, one a request; then it behaves.

    drop            closes without an answer          cut:N      closes after N bytes of the body
    stall:N         falls silent after N bytes        flip:N     byte N of the file is another one
    status:S        answers S, Retry-After 0          to:URL     redirects
    length:N        Content-Length is N, whatever is sent         whole      ignores the range
    range:N         answers 206 for a range from N on             coded      Content-Encoding: gzip
    pause:N         N bytes at a time, then waits a moment        gone       closes the server itself after this request
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    etag: str | None = '"one"'
    ranges: bool = True
    chunked: bool = False
    moment: float = 0.005
    released: threading.Event = field(default_factory=threading.Event)
    stalled: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    listener: socket.socket | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def folder(self, folder: Path, prefix: str = "/tiny") -> None:
        """Serves the files of a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.files[f"{prefix}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()

    def of(self, path: str) -> list[Asked]:
        return [one for one in self.asked if one.path == path]

    def sent(self, path: str) -> int:
        return sum(one.sent for one in self.of(path))

    def close(self) -> None:
        if self.listener is not None:
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept
            self.listener.close()

    def run(self) -> None:
        assert self.listener is not None
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while self._one(connection):
                pass

    def _one(self, connection: socket.socket) -> bool:
        """Answers one request; whether the connection goes on."""
        head = b""
        while b"\r\n\r\n" not in head:
            block = connection.recv(65536)
            if not block:
                return False
            head += block
        lines = head.decode("latin-1").split("\r\n")
        path = lines[0].split(" ")[1]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        found = re.match(r"bytes=(\d+)-", headers.get("range", ""))
        asked = Asked(path, int(found[1]) if found else None, headers.get("if-range"))
        self.asked.append(asked)
        fault, _, value = (
            (self.faults.get(path) or [""]).pop(0).partition(":") if self.faults.get(path) else ("", "", "")
        )
        return self._answer(connection, asked, fault, value)

    def _answer(self, connection: socket.socket, asked: Asked, fault: str, value: str) -> bool:
        data = self.files.get(asked.path.partition("?")[0])
        if fault == "drop":
            return False
        if fault == "status" or data is None:
            self._head(connection, int(value or 404), {"Content-Length": "0", "Retry-After": "0"})
            return True
        if fault == "to":
            self._head(connection, 302, {"Content-Length": "0", "Location": value})
            return True
        if fault == "flip":
            place = int(value)
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        same = asked.condition in (None, self.etag)
        start = asked.start if self.ranges and fault != "whole" and same else None
        if start is not None and start >= len(data):
            self._head(connection, 416, {"Content-Length": "0", "Content-Range": f"bytes */{len(data)}"})
            return True
        body = data[start or 0 :]
        headers = {"Content-Length": value if fault == "length" else str(len(body))}
        headers |= {"ETag": self.etag} if self.etag else {}
        headers |= {"Content-Encoding": "gzip"} if fault == "coded" else {}
        if start is not None:
            first = int(value) if fault == "range" else start
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        if self.chunked:
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
        self._head(connection, 200 if start is None else 206, headers)
        self._body(connection, asked, body, fault, value)
        if fault == "gone":
            self.close()
        return fault == ""

    def _body(self, connection: socket.socket, asked: Asked, body: bytes, fault: str, value: str) -> None:
        if self.chunked:
            connection.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
        elif fault in ("cut", "stall"):
            connection.sendall(body[: int(value)])
        elif fault == "pause":
            for at in range(0, len(body), int(value)):
                connection.sendall(body[at : at + int(value)])
                asked.sent += len(body[at : at + int(value)])
                self.released.wait(self.moment)
            return
        else:
            connection.sendall(body)
        asked.sent += int(value) if fault in ("cut", "stall") else len(body)
        if fault == "stall":
            self.stalled.set()
            self.released.wait(60)

    @staticmethod
    def _head(connection: socket.socket, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode())


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server that runs for the block."""
    server = Server()
    server.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    server.port = server.listener.getsockname()[1]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.close()
        thread.join(30)
