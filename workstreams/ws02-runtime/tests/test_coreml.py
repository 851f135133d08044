"""The Core ML executor against a stand-in for coremltools. Core ML itself runs in the macOS workflow only."""

from __future__ import annotations

import enum
import plistlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import ExecutionError
from lilims.runtime import coreml
from lilims.runtime.coreml import CoreMLExecutor


class ComputeUnit(enum.Enum):
    CPU_ONLY = 1
    CPU_AND_GPU = 2


class Framework:
    """What the stand-in noted, and how it behaves."""

    def __init__(self) -> None:
        self.compiled: list[str] = []
        self.models: list[Any] = []
        self.inside = 0
        self.most_inside = 0
        self.fail: dict[str, Exception] = {}
        self.no_proxy = False

    def compile_model(self, model: str, destination_path: str) -> str:
        if "compile" in self.fail:
            raise self.fail["compile"]
        self.compiled.append(model)
        assert destination_path.endswith(".mlmodelc")
        Path(destination_path).mkdir()
        (Path(destination_path) / "model.mil").write_text("compiled")
        return destination_path


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Framework:
    noted = Framework()

    class CompiledMLModel:
        def __init__(self, path: str, compute_units: ComputeUnit, function_name: str) -> None:
            if "load" in noted.fail:
                raise noted.fail["load"]
            assert Path(path, "model.mil").is_file()
            self.path, self.units, self.function_name = path, compute_units, function_name
            self._proxy = None if noted.no_proxy else object()
            noted.models.append(self)

        def make_state(self) -> SimpleNamespace:
            return SimpleNamespace(maker=self.function_name)

        def predict(self, data: dict[str, Any], state: Any) -> dict[str, Any]:
            noted.inside += 1
            noted.most_inside = max(noted.most_inside, noted.inside)
            threading.Event().wait(0.002)
            noted.inside -= 1
            if "predict" in noted.fail:
                raise noted.fail["predict"]
            dtypes = {name: array.dtype.name for name, array in data.items()}
            for name in list(data):
                data[name] = None  # the real one writes into the dictionary too
            return {"logits": np.float32([1, 2]), "dtypes": np.array(sorted(dtypes.items())), "maker": state.maker}

    module: Any = ModuleType("coremltools")
    module.ComputeUnit = ComputeUnit
    module.models = SimpleNamespace(
        CompiledMLModel=CompiledMLModel, utils=SimpleNamespace(compile_model=noted.compile_model)
    )
    monkeypatch.setitem(sys.modules, "coremltools", module)
    version = tmp_path / "SystemVersion.plist"
    version.write_bytes(plistlib.dumps({"ProductBuildVersion": "24A335"}))
    monkeypatch.setattr(coreml, "_SYSTEM_VERSION", version)
    return noted


@pytest.fixture
def open_package(tmp_path: Path) -> Callable[..., CoreMLExecutor]:
    def make(identity: str = "a" * 64, units: str = "CPU_ONLY") -> CoreMLExecutor:
        return CoreMLExecutor(tmp_path / "m.mlpackage", identity=identity, compute_units=units)

    return make


Open = Callable[..., CoreMLExecutor]
INPUTS = {"input_ids": np.zeros((1, 1), np.int64), "cos": np.ones(3, np.float16), "mask": np.ones(2, np.float64)}


def test_a_package_is_compiled_once_for_its_bytes_and_build(
    framework: Framework, open_package: Open, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_package()
    open_package()
    assert framework.compiled == [str(tmp_path / "m.mlpackage")]
    assert (home / "cache" / "coreml" / f"{'a' * 32}-24A335" / "model.mlmodelc" / "model.mil").is_file()
    open_package(identity="b" * 64)
    assert len(framework.compiled) == 2
    (tmp_path / "SystemVersion.plist").write_bytes(plistlib.dumps({"ProductBuildVersion": "24B83"}))
    open_package()
    assert len(framework.compiled) == 3


def test_functions_are_loaded_when_asked_for_and_kept(framework: Framework, open_package: Open) -> None:
    executor = open_package(units="CPU_AND_GPU")
    assert framework.models == []
    assert executor.function("decode") is executor.function("decode")
    executor.function("prefill")
    assert [(m.function_name, m.units) for m in framework.models] == [
        ("decode", ComputeUnit.CPU_AND_GPU), ("prefill", ComputeUnit.CPU_AND_GPU),
    ]  # fmt: skip


def test_one_state_serves_all_functions_and_keeps_its_model(framework: Framework, open_package: Open) -> None:
    executor = open_package()
    state = executor.make_state()
    assert state.model.function_name == "decode"
    assert executor.function("prefill").predict(INPUTS, state)["maker"] == "decode"


def test_inputs_are_copied_as_core_ml_takes_them(framework: Framework, open_package: Open) -> None:
    executor = open_package()
    inputs = dict(INPUTS)
    found = executor.function("decode").predict(inputs, executor.make_state())
    assert found["dtypes"].tolist() == [["cos", "float32"], ["input_ids", "int32"], ["mask", "float32"]]
    assert all(inputs[name] is INPUTS[name] for name in INPUTS)
    np.testing.assert_array_equal(INPUTS["cos"], 1)


def test_calls_on_one_state_take_turns(framework: Framework, open_package: Open) -> None:
    executor = open_package()
    state, other = executor.make_state(), executor.make_state()

    def run(states: list[Any]) -> int:
        framework.most_inside = 0
        threads = [
            threading.Thread(target=lambda s=s: [executor.function("decode").predict(INPUTS, s) for _ in range(5)])
            for s in states
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return framework.most_inside

    assert run([state] * 4) == 1
    assert run([state, other]) == 2


def test_the_frameworks_words_reach_the_user(framework: Framework, open_package: Open) -> None:
    framework.fail["compile"] = RuntimeError("Error compiling model: bad op")
    with pytest.raises(ExecutionError, match="does not compile this package: Error compiling model: bad op"):
        open_package()
    framework.fail = {"load": Exception("Unable to load. Error in declaring network")}
    executor = open_package()
    with pytest.raises(ExecutionError, match="does not load this function: Unable to load") as caught:
        executor.function("decode")
    assert str(caught.value.where).endswith("m.mlpackage: decode")
    framework.fail = {}
    state = executor.make_state()
    framework.fail = {"predict": RuntimeError("ANE failure -1")}
    with pytest.raises(ExecutionError, match="the prediction failed: ANE failure -1"):
        executor.function("decode").predict(INPUTS, state)
    framework.fail = {}
    assert "logits" in executor.function("decode").predict(INPUTS, state)


def test_a_failed_compilation_leaves_nothing(framework: Framework, open_package: Open, home: Path) -> None:
    framework.fail["compile"] = RuntimeError("no")
    with pytest.raises(ExecutionError):
        open_package()
    assert [p.name for p in (home / "cache" / "coreml").iterdir() if p.is_dir()] == []
    framework.fail = {}
    open_package()
    assert len(framework.compiled) == 1


def test_a_missing_proxy_is_an_error(framework: Framework, open_package: Open) -> None:
    framework.no_proxy = True
    with pytest.raises(ExecutionError, match="gives no reason"):
        open_package().function("decode")


def test_a_system_without_a_build(framework: Framework, open_package: Open, tmp_path: Path) -> None:
    (tmp_path / "SystemVersion.plist").unlink()
    with pytest.raises(ExecutionError, match="build of macOS"):
        open_package()
