"""Models of the hub: which names are such, what is fetched, and what is said when it cannot be. The hub is a server
on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lilims.conversion.sources.checkpoint import open_checkpoint
from lilims.conversion.sources.hub import hub_name, wanted_files
from lilims.core.errors import CheckpointError
from lilims.core.manifest import read_manifest

COMMIT = "0123456789abcdef0123456789abcdef01234567"

NAMES = {
    "hf://org/name": ("org/name", None),
    "hf:/org/name": ("org/name", None),  # what a Path makes of it
    "hf://org/name@v1.0": ("org/name", "v1.0"),
    "org/name": ("org/name", None),
    "org/name@refs/pr/1": ("org/name", "refs/pr/1"),
}
PATHS = [
    "name",
    "./org/name",
    "../org/name",
    "/org/name",
    "a/b/c",
    "org/",
    "~/name",
    "hf://name",
    "hf://a/../b",
    "org\\name",
]


@pytest.mark.parametrize("text", NAMES)
def test_names_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    found = hub_name(text)
    assert found is not None
    assert (found.repo, found.revision) == NAMES[text]
    assert hub_name(Path(text)) == found


@pytest.mark.parametrize("text", PATHS)
def test_paths_are_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_name(text) is None


def test_a_folder_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And beside other models a slip of the pen stays on this machine."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    assert hub_name("models/tiny") is None
    assert hub_name("models/tinny") is None
    assert hub_name("hf://models/tiny") is not None


def test_a_path_that_is_not_there_says_how_the_hub_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder") as caught:
        open_checkpoint(tmp_path / "nowhere")
    assert "hf://org/name" in str(caught.value.hint)


REPOSITORY = [
    ".gitattributes", "README.md", "LICENSE", "config.json", "generation_config.json", "modeling_x.py",
    "tokenizer.json", "tokenizer_config.json", "additional_chat_templates/tool_use.jinja",
    "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    "model.safetensors.index.json", "pytorch_model.bin", "consolidated.safetensors", "onnx/model.onnx",
    "original/model.safetensors", "model.gguf", "tf_model.h5", "../config.json",
]  # fmt: skip


def test_only_what_a_conversion_needs() -> None:
    small = [
        "LICENSE", "README.md", "additional_chat_templates/tool_use.jinja", "config.json", "generation_config.json",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert wanted_files(REPOSITORY) == sorted(small + shards)
    assert wanted_files(REPOSITORY, weights=False) == small
    assert wanted_files([n for n in REPOSITORY if "safetensors" not in n]) == sorted([*small, "pytorch_model.bin"])


class Hub(BaseHTTPRequestHandler):
    """The little of the hub's protocol that fetching a model takes. Repositories are folders."""

    repositories: dict[str, Path]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        kind, *parts = path.strip("/").split("/")
        if kind == "api":
            repo, rest = "/".join(parts[1:3]), parts[3:]
            if repo == "org/gated":
                return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body=body)
            if repo not in self.repositories:
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)
            if rest[:1] == ["revision"] and rest[1] not in ("main", "v1", COMMIT):
                return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body=body)
            files = sorted(p.name for p in self.repositories[repo].iterdir() if p.is_file())
            entries = [{"type": "file", "path": f, "size": 1, "oid": "0" * 40} for f in files]
            info = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files], "tags": []}
            return self._send(200, json.dumps(entries if rest[:1] == ["tree"] else info).encode(), {}, body=body)
        data = (self.repositories[f"{kind}/{parts[0]}"] / parts[-1]).read_bytes()
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
        pass


@pytest.fixture
def hub(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub with a model org/tiny; its address and what it was asked for."""
    pytest.importorskip("huggingface_hub")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "model.gguf").write_bytes(b"GGUF")
    own = tmp_path / "tiny"
    own.mkdir()
    for path in checkpoint_of("llama").iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    (own / "modeling_tiny.py").write_text("raise SystemExit")
    asked: list[str] = []
    handler = type("Handler", (Hub,), {"repositories": {"org/tiny": own, "org/empty": empty}, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


def lilims(tmp_path: Path, endpoint: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A conversion in a process of its own: the hub's library reads its settings once, when it is imported."""
    folders = dict.fromkeys(("HF_HOME", "LILIMS_HOME", "XDG_CACHE_HOME"), str(tmp_path / "home"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LILIMS_"))}
    return subprocess.run(
        [sys.executable, "-c", "from lilims.core.cli import main; main()", "convert", *arguments],
        env={**kept, **folders, "HF_ENDPOINT": endpoint, "NO_PROXY": "*", **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_model_of_the_hub(tmp_path: Path, hub: tuple[str, list[str]]) -> None:
    endpoint, asked = hub
    planned = lilims(tmp_path, endpoint, "hf://org/tiny", "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    assert not any("safetensors" in path for path in asked)
    done = lilims(tmp_path, endpoint, "org/tiny@v1", "-o", "out", "--quantize", "fp16")
    assert done.returncode == 0, done.stderr
    assert not any(path.endswith(".py") for path in asked)
    manifest = read_manifest(tmp_path / "out")
    assert manifest.name == "tiny"
    assert manifest.source.name == "org/tiny"
    assert manifest.source.hub is not None
    assert (manifest.source.hub.repo, manifest.source.hub.commit) == ("org/tiny", COMMIT)
    assert manifest.source.sha256 == open_checkpoint(tmp_path / "tiny").sha256
    before = len(asked)
    again = lilims(tmp_path, endpoint, "hf://org/tiny@v1", "-o", "again", "--quantize", "fp16", LILIMS_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert len(asked) == before
    assert read_manifest(tmp_path / "again").source == manifest.source


REFUSED: dict[str, tuple[list[str], dict[str, str], str]] = {
    "unknown": (["hf://org/other"], {}, "hf://org/other: the hub has no such model, or it is private"),
    "gated": (["hf://org/gated"], {}, "hf://org/gated: is gated"),
    "revision": (["org/tiny@v9"], {}, "hf://org/tiny@v9: the model has no such revision"),
    "no checkpoint": (["hf://org/empty"], {}, "hf://org/empty: the model has no config.json"),
    "unreachable": (
        ["hf://org/tiny"],
        {"HF_ENDPOINT": "http://127.0.0.1:9"},
        "cannot be reached (ConnectError)",
    ),
    "offline": (["org/tiny"], {"HF_HUB_OFFLINE": "1"}, "is not in the hub's cache, and the network is switched off"),
    "switched off": (["org/tiny"], {"LILIMS_OFFLINE": "yes"}, "is not in the hub's cache, and the network is switched"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_line_says_why_not(tmp_path: Path, hub: tuple[str, list[str]], name: str) -> None:
    arguments, environment, message = REFUSED[name]
    done = lilims(tmp_path, hub[0], *arguments, "-o", "out", **environment)
    assert done.returncode == 1, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 4
    assert not (tmp_path / "out").exists()
    if "OFFLINE" in str(environment):
        assert hub[1] == []


def test_without_the_library_the_extra_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['huggingface_hub'] = None; from lilims.core.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "convert", "hf://org/tiny", "-o", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "pip install 'lilims-conversion[hub]'" in done.stderr
