"""A stand-in for the Hugging Face hub, on this machine, for the tests of what fetches from it.

Knows the little of its protocol that `huggingface_hub` needs to list and fetch files. Must not know what is in them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

__all__ = ["COMMIT", "Hub", "stand_in_hub"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The commit of every repository."""
GATED = "org/gated"
"""A repository that asks for a token."""


@dataclass
class Hub:
    """A hub that runs.

    Attributes:
        url: its address, for `HF_ENDPOINT`.
        repositories: folders by `org/name`; their revisions are `main`, `v1` and `COMMIT`.
        asked: method and path of every request.
    """

    url: str
    repositories: Mapping[str, Path]
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def stand_in_hub(repositories: Mapping[str, Path]) -> Iterator[Hub]:
    """Serves folders as repositories while the block runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        hub = Hub(f"http://127.0.0.1:{server.server_address[1]}", repositories)
        server.hub = hub  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        path = unquote(self.path.partition("?")[0])
        hub.asked.append(f"{self.command} {path}")
        kind, *parts = path.strip("/").split("/")
        name = "/".join(parts[1:3] if kind == "api" else [kind, parts[0]])
        rest = parts[3:]
        if name == GATED:
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body=body)
        if name not in hub.repositories:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)
        root = hub.repositories[name]
        files = {p.relative_to(root).as_posix(): p for p in sorted(root.rglob("*")) if p.is_file()}
        if kind == "api":
            if rest[:1] == ["revision"] and rest[1] not in ("main", "v1", COMMIT):
                return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body=body)
            return self._send(200, json.dumps(_described(name, files, tree="tree" in rest)).encode(), {}, body=body)
        data = files["/".join(rest)].read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self._send(200, data, headers, body=body)

    def _send(self, status: int, data: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


def _described(name: str, files: Mapping[str, Path], *, tree: bool) -> Any:
    sizes = {path: file.stat().st_size for path, file in files.items()}
    if tree:
        return [{"type": "file", "path": path, "size": size, "oid": "0" * 40} for path, size in sizes.items()]
    siblings = [{"rfilename": path, "size": size} for path, size in sizes.items()]
    return {"id": name, "sha": COMMIT, "siblings": siblings, "tags": []}
