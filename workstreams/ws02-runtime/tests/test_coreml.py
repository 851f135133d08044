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

from lilims.core.errors import ExecutionError, UsageError
from lilims.runtime import coreml
from lilims.runtime.coreml import CoreMLExecutor

SHAPE = (4, 2, 64, 32)


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
        self.state_dtype: Any = np.float32

    def compile_model(self, model: str, destination_path: str) -> str:
        if "compile" in self.fail:
            raise self.fail["compile"]
        self.compiled.append(model)
        assert destination_path.endswith(".mlmodelc")
        Path(destination_path).mkdir()
        (Path(destination_path) / "model.mil").write_text("compiled")
        return destination_path


class State:
    """What coremltools' MLState does: whole arrays of the dtype that the framework takes."""

    def __init__(self, framework: Framework, maker: str) -> None:
        self.maker = maker
        self._framework = framework
        self._content = np.zeros(SHAPE, framework.state_dtype)

    def read_state(self, name: str) -> np.ndarray:
        assert name == "kv_cache"
        if "read" in self._framework.fail:
            raise self._framework.fail["read"]
        return self._content

    def write_state(self, name: str, value: np.ndarray) -> None:
        assert name == "kv_cache"
        assert value is not self._content
        if "write" in self._framework.fail:
            raise self._framework.fail["write"]
        assert (value.shape, value.dtype) == (SHAPE, self._framework.state_dtype)
        self._content = value


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

        def make_state(self) -> State:
            return State(noted, self.function_name)

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


VALUES = np.random.Generator(np.random.PCG64(1)).standard_normal((4, 2, 5, 32)).astype(np.float16)


@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
def test_rows_are_read_and_written(framework: Framework, open_package: Open, dtype: Any) -> None:
    framework.state_dtype = dtype
    executor = open_package()
    one, other = executor.make_state(), executor.make_state()
    executor.write_state(one, np.full(SHAPE, 7, np.float16))
    executor.write_state(one, VALUES)
    read = executor.read_state(one, 6)
    assert (read.shape, read.dtype) == ((4, 2, 6, 32), np.float16)
    np.testing.assert_array_equal(read[:, :, :5], VALUES)
    np.testing.assert_array_equal(executor.read_state(one, 64)[:, :, 5:], 7)
    assert executor.read_state(one, 0).shape == (4, 2, 0, 32)
    read[:] = 9  # a copy
    np.testing.assert_array_equal(executor.read_state(one, 5), VALUES)
    assert not executor.read_state(other, 64).any()


@pytest.mark.parametrize(
    "shape", [(4, 2, 65, 32), (2, 2, 5, 32), (4, 2, 5, 64), (4, 5, 32)], ids=["rows", "layers", "width", "rank"]
)
def test_values_that_do_not_fit_a_state(framework: Framework, open_package: Open, shape: tuple[int, ...]) -> None:
    executor = open_package()
    state = executor.make_state()
    with pytest.raises(UsageError, match="does not fit into a state of"):
        executor.write_state(state, np.ones(shape, np.float16))
    assert not executor.read_state(state, 64).any()


@pytest.mark.parametrize("rows", [-1, 65])
def test_rows_that_are_not_there(framework: Framework, open_package: Open, rows: int) -> None:
    executor = open_package()
    with pytest.raises(UsageError, match="does not fit into a state of"):
        executor.read_state(executor.make_state(), rows)


def test_a_state_that_the_framework_does_not_hand_out(framework: Framework, open_package: Open) -> None:
    executor = open_package()
    state = executor.make_state()
    framework.fail = {"write": RuntimeError("no such state")}
    with pytest.raises(ExecutionError, match="the state cannot be written: no such state"):
        executor.write_state(state, VALUES)
    framework.fail = {"read": AttributeError("'MLState' object has no attribute 'read_state'")}
    with pytest.raises(ExecutionError, match="the state cannot be read: 'MLState' object has no attribute"):
        executor.read_state(state, 3)
