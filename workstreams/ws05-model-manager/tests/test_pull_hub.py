"""Models of the hub: what a repository's files say of it, and a pull from a hub that is a server on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import LilimsError, ModelNotFoundError, UsageError
from lilims.core.files import directory_size
from lilims.core.testing import test_data
from lilims.core.testing_hub import stand_in_hub
from lilims.models import store
from lilims.models.sources.hub import Choice, choose
from lilims.models.sources.names import HubSource, LocalSource, NamedSource, Source, WebSource, parse

from .conftest import write_model

NAMES: dict[str, Source] = {
    "hf:org/name": HubSource("org/name", None, None),
    "hf://org/name@v1": HubSource("org/name", "v1", None),
    "hf:org/name@refs/pr/1": HubSource("org/name", "refs/pr/1", None),
    "hf:org/name/x-Q4_0.gguf": HubSource("org/name", None, "x-Q4_0.gguf"),
    "hf:org/name/deep/x.mlpackage@main": HubSource("org/name", "main", "deep/x.mlpackage"),
    "https://example.org/tiny/": WebSource("https://example.org/tiny/"),
    ".": LocalSource(Path()),
}


@pytest.mark.parametrize("text", NAMES)
def test_how_sources_are_written(text: str) -> None:
    assert parse(text) == NAMES[text]


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = parse("tiny@^1.2")
    assert isinstance(found, NamedSource) and (found.name, str(found.wanted)) == ("tiny", "^1.2")
    (tmp_path / "tiny").mkdir()
    assert parse("tiny") == LocalSource(Path("tiny"))


@pytest.mark.parametrize("text", ["hf:", "hf:name", "hf:org/../x", "hf:org/name/../x.gguf", "hf:org/name@", "hf:/a/b"])
def test_what_is_no_name_of_the_hub(text: str) -> None:
    with pytest.raises(UsageError, match="is not a model of the hub"):
        parse(text)


PACKAGE = ["README.md", "x.mlpackage/Manifest.json", "x.mlpackage/Data/model.mlmodel"]
CHECKPOINT = ["config.json", "model.safetensors", "tokenizer.json"]
CHOICES: dict[str, tuple[list[str], str | None, Choice]] = {
    "checkpoint": (CHECKPOINT, None, Choice("checkpoint")),
    "package": (PACKAGE, None, Choice("package", tuple(PACKAGE[1:]), "x.mlpackage")),
    "package-of-a-checkpoint": (PACKAGE + CHECKPOINT, None, Choice("package", tuple(PACKAGE[1:]), "x.mlpackage")),
    "model": ([".gitattributes", "manifest.json", *PACKAGE], None, Choice("model", ("manifest.json", *PACKAGE))),
    "one-gguf": (["README.md", "x.gguf"], None, Choice("gguf", ("x.gguf",), "x.gguf")),
    "named-gguf": (["a.gguf", "b.gguf"], "b.gguf", Choice("gguf", ("b.gguf",), "b.gguf")),
    "split-gguf": (
        ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"], None,
        Choice("gguf", ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf"), "a-00001-of-00002.gguf"),
    ),
    "named-package": ([*PACKAGE, "y.mlpackage/Manifest.json"], "y.mlpackage",
                      Choice("package", ("y.mlpackage/Manifest.json",), "y.mlpackage")),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_what_a_repository_offers(case: str) -> None:
    names, file, expected = CHOICES[case]
    assert choose(names, file, "hf:org/name") == expected


UNCLEAR: dict[str, tuple[list[str], str | None, type[LilimsError], str]] = {
    "ggufs": (["a.gguf", "b.gguf"], None, UsageError, "name one, such as hf:org/name/a.gguf"),
    "packages": ([*PACKAGE, "y.mlpackage/x"], None, UsageError, "name one, such as hf:org/name/x.mlpackage"),
    "nothing": (["README.md"], None, ModelNotFoundError, "a model folder, an .mlpackage, a .gguf"),
    "another": (["a.gguf"], "b.gguf", ModelNotFoundError, "it has a.gguf"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_is_not_clear(case: str) -> None:
    names, file, kind, hint = UNCLEAR[case]
    with pytest.raises(kind) as caught:
        choose(names, file, "hf:org/name@main")
    assert hint in (caught.value.hint or "")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub with a ready model org/tiny and a package org/package; its address and what it was asked for."""
    pytest.importorskip("huggingface_hub")
    write_model(tmp_path / "tiny", version="1.2.0", files={"tokenizer.json": b"{}"})
    package = tmp_path / "package" / "encoder.mlpackage"
    package.parent.mkdir()
    import shutil

    shutil.copytree(test_data("coreml/silero-vad/silero-vad-encoder-v6.0.0.mlpackage"), package)
    with stand_in_hub({"org/tiny": tmp_path / "tiny", "org/package": package.parent}) as found:
        yield found.url, found.asked


PROGRAM = """
import json, sys
from lilims.core.privacy import hub_off
hub_off()
from lilims.core.errors import LilimsError
from lilims.models.pulling import Wishes, pull
for source, sha256, dry in json.loads(sys.argv[1]):
    try:
        done = pull(source, Wishes(sha256=sha256, dry_run=dry))
        print(json.dumps([done.action, done.model] + [done.missing] * dry))
    except LilimsError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


def pulls(tmp_path: Path, endpoint: str, *sources: tuple[str, str | None, bool], **environment: str) -> list[Any]:
    """Pulls in a process of their own: the hub's library reads its settings once, when it is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(sources)],
        env={**kept, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": endpoint, "NO_PROXY": "*", **environment},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_ready_model_and_a_package_of_the_hub(tmp_path: Path, home: Path, hub: tuple[str, list[str]]) -> None:
    endpoint, asked = hub
    found = pulls(
        tmp_path, endpoint, ("hf:org/tiny", None, True), ("hf:org/tiny", "0" * 64, False), ("hf:org/tiny", None, False),
        ("hf:org/tiny@main", None, False), ("hf:org/package", None, False), ("hf:org/absent", None, False),
        ("hf:org/tiny", None, True),
    )  # fmt: skip
    assert found.pop(1)[0] == "IntegrityError"
    size = directory_size(tmp_path / "tiny")
    assert found.pop() == ["download", None, 0]  # all of it is in the hub's cache by now
    assert found[:4] == [
        ["download", None, size], ["copy", "tiny@1.2.0"], ["none", "tiny@1.2.0"], ["import", "encoder@6.0.0"],
    ]  # fmt: skip
    assert found[4][0] == "ModelNotFoundError" and "the hub has no such model" in found[4][1]
    assert [one.reference for one in store.all_models()] == ["encoder@6.0.0", "tiny@1.2.0"]
    assert not any(path.is_symlink() for path in (home / "models").rglob("*"))
    assert sum(one.startswith("GET") and one.endswith("tokenizer.json") for one in asked) == 1


def test_the_hub_is_not_asked_offline(tmp_path: Path, home: Path, hub: tuple[str, list[str]]) -> None:
    endpoint, asked = hub
    ((kind, words),) = pulls(tmp_path, endpoint, ("hf:org/tiny/x.gguf", None, False), LILIMS_OFFLINE="1")
    assert (kind, words) == ("ModelNotFoundError", "hf:org/tiny/x.gguf: the network is switched off")
    assert asked == []
