"""Fixtures: tiny random checkpoints and what transformers computes for them."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lilims.conversion.random_checkpoint import write_random_checkpoint
from lilims.core.settings import settings

if sys.platform == "win32":  # coremltools 9 has no Windows build: there is nothing to convert with
    collect_ignore_glob = ["*.py"]

REFERENCES = Path(__file__).parent / "references"
MODELS: dict[str, Any] = json.loads((REFERENCES / "models.json").read_text())["models"]
SCHEMES: dict[str, list[str]] = {name: entry["schemes"] for name, entry in MODELS.items()}  # those with a reference


@dataclass(frozen=True)
class Reference:
    """A tiny model: its config and seed, and recorded arrays (prompt, logits_<scheme>, greedy_<scheme>)."""

    name: str
    config: dict[str, Any]
    seed: int
    arrays: dict[str, np.ndarray]


def reference(name: str) -> Reference:
    """The recorded reference of a tiny model."""
    with np.load(REFERENCES / f"{name}.npz") as arrays:
        return Reference(name, MODELS[name]["config"], MODELS[name]["seed"], dict(arrays))


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """A safetensors file of float32 tensors."""
    header: dict[str, Any] = {}
    data = b""
    for name, values in tensors.items():
        raw = values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of data of its own: the executor keeps graphs there."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("LILIMS_HOME", str(folder))
        settings.cache_clear()
        yield folder
    settings.cache_clear()


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes (once) the checkpoint folder of a tiny model."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("checkpoint") / name
            write_random_checkpoint(MODELS[name]["config"], made[name], seed=MODELS[name]["seed"])
        return made[name]

    return make


@pytest.fixture(scope="session")
def converted(checkpoint_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes (once) the model folder of a tiny model, scheme and attention form."""
    from lilims.conversion import convert

    made: dict[tuple[Any, ...], Path] = {}

    def make(name: str, scheme: str = "fp16", attention: str = "sdpa") -> Path:
        key = (name, scheme, attention)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("model") / name
            convert(checkpoint_of(name), made[key], quantize=scheme, attention=attention)  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture(scope="session")
def record_tool() -> ModuleType:
    """tools/record_model_references.py as a module: the parity tests run it live."""
    path = Path(__file__).parents[3] / "tools" / "record_model_references.py"
    spec = importlib.util.spec_from_file_location("record_model_references", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
