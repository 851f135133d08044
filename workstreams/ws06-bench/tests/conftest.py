"""Every test has a home of its own; one tiny random model serves them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lilims.core.console import console
from lilims.core.settings import settings

CONFIG: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
    "hidden_act": "silu", "tie_word_embeddings": True, "eos_token_id": 2,
}  # fmt: skip
Run = Callable[..., int]


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in [name for name in os.environ if name.startswith("LILIMS_")]:
        monkeypatch.delenv(name)
    folder = tmp_path_factory.getbasetemp() / "home"  # graphs are kept from test to test
    monkeypatch.setenv("LILIMS_HOME", str(folder))
    monkeypatch.setenv("LILIMS_CONFIG", str(folder / "config.toml"))
    settings.cache_clear()
    yield folder
    settings.cache_clear()
    console.json = console.quiet = False


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    folder = tmp_path_factory.mktemp("source") / "tiny"
    write_random_checkpoint(CONFIG, folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A model folder, int8, context 64."""
    pytest.importorskip("coremltools", reason="nothing to convert with")
    from lilims.conversion import convert

    folder = tmp_path_factory.mktemp("models") / "tiny-int8"
    convert(checkpoint, folder, quantize="int8")
    return folder


@pytest.fixture
def lilims(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `lilims …` in this process; returns the exit code."""
    import tomllib
    from importlib.metadata import EntryPoint

    from lilims.core import cli

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    commands = project["entry-points"]["lilims.commands"]

    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint(name, value, group) for name, value in commands.items()]

    monkeypatch.setattr(cli, "entry_points", entry_points)
    return lambda *arguments: cli.run([str(argument) for argument in arguments])
