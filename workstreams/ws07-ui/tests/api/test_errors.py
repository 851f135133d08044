"""Errors that come of a model's own files: they name a field, and no option of a command line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lilims.core.manifest import read_manifest, write_manifest

from ..helpers import live

ASKED = {
    "messages": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
    "prompt": ("/v1/completions", {"prompt": "Hello"}),
}


def refused(folder: Path, kind: str) -> dict[str, Any]:
    path, body = ASKED[kind]
    with live(str(folder)) as server:
        answer = httpx2.post(f"{server.url}{path}", json=body, trust_env=False, timeout=60)
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert "--" not in error["message"], "a client has no command line"
    return error


def test_a_template_that_refuses_the_messages(shared_home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "strict"
    shutil.copytree(shared_home / "models" / "stories-int4", folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    error = refused(folder, "messages")
    assert (error["code"], error["param"]) == ("invalid_messages", "messages")
    assert "roles must alternate" in error["message"]


@pytest.mark.parametrize("kind", ASKED)
def test_a_model_without_a_tokenizer(shared_home: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "mute"
    shutil.copytree(shared_home / "models" / "stories-int4", folder)
    manifest = read_manifest(folder)
    kept = {name: file for name, file in manifest.files.items() if not name.startswith("tokenizer")}
    write_manifest(folder, manifest.model_copy(update={"files": kept}))
    for name in manifest.files.keys() - kept.keys():
        (folder / name).unlink()
    error = refused(folder, kind)
    assert (error["code"], error["param"]) == ("no_tokenizer", "model")
