"""Every test runs with data and settings of its own; nothing here converts or runs a package."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lilims.core.console import console
from lilims.core.manifest import Manifest, describe_files, write_manifest
from lilims.core.settings import settings
from lilims.runtime import Statistics, Token


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in [name for name in os.environ if name.startswith("LILIMS_")]:
        if name not in ("LILIMS_TEST_DATA", "LILIMS_REQUIRE_TEST_DATA"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LILIMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LILIMS_CONFIG", str(tmp_path / "config.toml"))
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()
    console.json = console.quiet = False


def write_model(
    folder: Path,
    *,
    name: str = "tiny",
    scheme: str = "int4",
    lilims: str | None = None,
    files: Mapping[str, bytes] | None = None,
    **fields: Any,
) -> Manifest:
    """A model folder with a package that holds no program, and `files`; returns its manifest."""
    from lilims.core import version

    package = folder / "model.mlpackage"
    package.mkdir(parents=True)
    (package / "Manifest.json").write_text(json.dumps({"scheme": scheme}))
    for path, content in (files or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    manifest = Manifest.model_validate(
        {
            "name": name,
            "source": {"kind": "huggingface", "name": "stories", "sha256": "0" * 64},
            "architecture": {
                "model_type": "llama", "layers": 2, "hidden_size": 8, "heads": 2, "kv_heads": 1, "head_dim": 4,
                "vocab_size": 50, "parameters": 1_000_000,
            },
            "positions": {"kind": "rotary", "rotary": {"rotary_dim": 4}},
            "tokens": {"bos": 0, "eos": [0]},
            "context": 64,
            "state": {"shape": [4, 1, 96, 32]},
            "functions": {"decode": {"tokens": 1, "rows": 96, "logits": "last"}},
            "quantization": {
                "scheme": scheme, "bits_per_weight": {"fp16": 16.0, "int4": 4.6}[scheme], "tensors": {},
            },
            "compatible_runtime": ">=0.1",
            "tools": {"lilims": lilims or version()},
            "files": {name: record.model_dump() for name, record in describe_files(folder).items()},
            **fields,
        }
    )  # fmt: skip
    write_manifest(folder, manifest)
    return manifest


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the checkpoint that ships with the package."""
    from lilims.models import names

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "heldout.txt").write_text("one two three " * 400)
    monkeypatch.setattr(names, "builtin_checkpoint", lambda: folder)
    return folder


@pytest.fixture
def conversions(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for `lilims.conversion.convert`; notes how it is called."""
    import lilims.conversion
    from lilims.conversion import pipeline
    from lilims.core.files import new_directory

    seen: list[dict[str, Any]] = []

    def convert(source: Path, out: Path, **options: Any) -> pipeline.Conversion:
        seen.append({"source": source, "out": out, **options})
        with new_directory(out, force=options["force"]) as folder:
            manifest = write_model(folder, name=options["name"], scheme=options["quantize"])
        return pipeline.Conversion(out, manifest, {"quantize": 0.5, "serialize": 1.0})

    monkeypatch.setattr(pipeline, "convert", convert)
    assert lilims.conversion.convert is convert
    return seen


@dataclass
class FakeTokenizer:
    """A word, an id."""

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        return [len(word) for word in text.split()]


@dataclass
class FakeModel:
    """What `load` gives: tells a fixed story.

    Attributes:
        asked: what generations were asked for.
    """

    folder: Path
    manifest: Manifest
    pieces: Sequence[str] = (", there", " was", " a fox", ".\n", "The", " end")
    executor: str = "portable"
    fails_after: int | None = None
    error: BaseException | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    stats: Statistics = field(default_factory=Statistics)
    tokenizer: FakeTokenizer = field(default_factory=FakeTokenizer)
    context: int = 64

    chats: bool = False
    reasoning: str = ""

    def session(self, policy: str = "error") -> str:
        return f"a session, {policy}"

    def generate(self, prompt: Any, **options: Any) -> Iterator[Token]:
        self.asked.append({"prompt": prompt, **{name: value for name, value in options.items() if value is not None}})
        self.stats = Statistics(
            prompt_tokens=3, generated_tokens=6, time_to_first_token=0.05, prefill_seconds=0.03, decode_seconds=0.1,
            finish_reason=None if self.error else "stop", seed=options.get("seed"),
        )  # fmt: skip
        return self._tokens()

    def _tokens(self) -> Iterator[Token]:
        if self.reasoning:
            yield Token(9, reasoning=self.reasoning)
        for index, piece in enumerate(self.pieces):
            if self.error is not None and index == self.fails_after:
                raise self.error
            yield Token(index, piece, logprob=-0.5, top_logprobs=((index, -0.5),))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> tuple[list[FakeModel], dict[str, Any]]:
    """Stands in for `lilims.runtime.load`: the models it made, and fields for the next ones."""
    import lilims.runtime
    from lilims.core.manifest import read_manifest
    from lilims.runtime import loading

    made: list[FakeModel] = []
    settings_of_next: dict[str, Any] = {}

    def load(path: Path, **options: Any) -> FakeModel:
        made.append(FakeModel(path, read_manifest(path), **settings_of_next))
        made[-1].asked.append({"load": options})
        return made[-1]

    monkeypatch.setattr(loading, "load", load)
    assert lilims.runtime.load is load
    return made, settings_of_next


Run = Callable[..., int]


@pytest.fixture
def lilims(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `lilims …` in this process; returns the exit code."""
    import tomllib
    from importlib.metadata import EntryPoint

    from lilims.core import cli
    from lilims.runtime.commands import export

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    groups = project["entry-points"]
    groups["lilims.commands"]["export"] = "lilims.runtime.commands.export:command"

    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint(name, value, group) for name, value in groups[group].items()]

    monkeypatch.setattr(cli, "entry_points", entry_points)
    monkeypatch.setattr(export, "entry_points", entry_points)
    return lambda *arguments: cli.run([str(argument) for argument in arguments])
