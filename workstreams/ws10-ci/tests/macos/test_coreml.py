"""The way to Core ML, with a stand-in for coremltools' `CompiledMLModel` that the portable executor computes for."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lilims.ci.macos import backend, probes_state, probes_weights
from lilims.ci.macos.pairs import open_pair
from lilims.ci.macos.rungs import Target
from lilims.runtime.portable import MLModel

from .conftest import converts

pytestmark = converts


class Framework:
    """What was asked of it. It refuses what the bridge refuses: inputs of a type other than float32 and int32."""

    def __init__(self) -> None:
        self.ComputeUnit = {"CPU_ONLY": "cpu", "CPU_AND_GPU": "gpu", "CPU_AND_NE": "ane"}
        self.compiled: list[str] = []
        self.loaded: list[tuple[str, str]] = []
        self.proxy: object | None = object()
        self.models = SimpleNamespace(
            CompiledMLModel=self.load, utils=SimpleNamespace(compile_model=self.compile_model)
        )

    def compile_model(self, model: str, destination_path: str) -> None:
        self.compiled.append(model)
        assert destination_path.endswith(".mlmodelc")
        Path(destination_path).write_text(model)

    def load(self, path: str, compute_units: str, function_name: str) -> Any:
        self.loaded.append((compute_units, function_name))
        model = MLModel(Path(path).read_text(), function_name=function_name, precision="fp16", threads=1)

        def predict(data: dict[str, Any], state: Any = None) -> Any:
            assert all(isinstance(v, np.ndarray) and v.dtype in (np.float32, np.int32) for v in data.values())
            return model.predict(data, state)

        return SimpleNamespace(predict=predict, make_state=model.make_state, _proxy=self.proxy)


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> Framework:
    made = Framework()
    plain = backend.Opened._coreml

    def coreml(self: Any, function: str) -> Any:
        with monkeypatch.context() as patch:  # packages are made with the real one
            patch.setitem(sys.modules, "coremltools", made)
            return plain(self, function)

    monkeypatch.setattr(backend.Opened, "_coreml", coreml)
    return made


@pytest.fixture
def asked(target: Target) -> Target:
    return Target("coreml", "CPU_AND_GPU", target.work, target.shared)


def test_a_package_is_compiled_once_and_its_functions_loaded_once(asked: Target, framework: Framework) -> None:
    assert probes_state.write_then_read(asked).passed
    assert framework.compiled == [str(asked.work / "state.mlpackage")]
    assert framework.loaded == [("gpu", "read"), ("gpu", "write_1"), ("gpu", "write_2")]


def test_a_single_function_is_named_too(asked: Target, framework: Framework) -> None:
    assert probes_weights.nested_scale(asked).passed
    assert framework.loaded == [("gpu", "main")]


def test_a_load_that_failed_silently_is_an_error(asked: Target, framework: Framework) -> None:
    framework.proxy = None
    with pytest.raises(RuntimeError, match="Core ML does not load main: coremltools gives no reason"):
        probes_weights.int4_group_32(asked)


def test_decoders_are_loaded_as_users_do(asked: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference by the portable executor, the other one through Core ML; no precision is asked of that."""
    from lilims.runtime import load

    seen: list[dict[str, Any]] = []

    def record(folder: Path, **options: Any) -> Any:
        seen.append(options)
        return load(folder, executor="portable", precision="exact", threads=1)

    monkeypatch.setattr("lilims.runtime.load", record)
    open_pair(asked, context=64)
    assert seen == [
        {"executor": "portable", "precision": "exact", "threads": 1, "context": 64},
        {"executor": "coreml", "compute_units": "CPU_AND_GPU", "context": 64},
    ]
    backend.open_model(asked.shared / "fp16", asked, precision="fast")
    assert seen[-1] == {"executor": "coreml", "compute_units": "CPU_AND_GPU"}
