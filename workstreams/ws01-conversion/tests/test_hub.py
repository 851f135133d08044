"""Models of the hub: which names are such, what is fetched, and what is said when it cannot be. The hub is a server
on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lilims.conversion.sources.checkpoint import open_checkpoint
from lilims.conversion.sources.hub import hub_name, wanted_files
from lilims.core.errors import CheckpointError
from lilims.core.manifest import read_manifest
from lilims.core.testing_hub import COMMIT, stand_in_hub

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
    with stand_in_hub({"org/tiny": own, "org/empty": empty}) as found:
        yield found.url, found.asked


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
