"""Profiles of ONNX Runtime: taken, joined, and gone when nobody asks any more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import ExecutionError, UsageError
from lilims.runtime.portable import MLModel
from lilims.runtime.portable.trace import join_traces
from lilims.runtime.ported import PortableExecutor


@pytest.fixture
def package(ct: Any, mb: Any, save: Callable[..., Path]) -> Path:
    @mb.program(input_specs=[mb.TensorSpec((2, 3))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        return mb.tanh(x=mb.add(x=x, y=np.float32(1)), name="y")

    return save(main=program)


def test_every_op_is_timed(package: Path, tmp_path: Path) -> None:
    executor = PortableExecutor(package, precision="exact", threads=1)
    x = {"x": np.ones((2, 3), np.float32)}
    wanted = executor.function("main").predict(x, None)["y"]
    executor.start_trace(tmp_path / "trace.json")
    with pytest.raises(UsageError, match="a trace is being taken"):
        executor.start_trace(tmp_path / "other.json")
    for _ in range(3):
        assert np.array_equal(executor.function("main").predict(x, None)["y"], wanted)
    assert executor.stop_trace() == tmp_path / "trace.json"
    events = json.loads((tmp_path / "trace.json").read_text())
    kernels = [e for e in events if e.get("cat") == "Node" and e["args"].get("op_name") == "Tanh"]
    assert len([e for e in kernels if e["name"].endswith("kernel_time")]) == 3
    assert all(e["dur"] >= 0 for e in kernels)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".json"] == ["trace.json"]
    assert np.array_equal(executor.function("main").predict(x, None)["y"], wanted)
    with pytest.raises(UsageError, match="no trace is being taken"):
        executor.stop_trace()


def test_a_model_that_is_not_traced(package: Path) -> None:
    with pytest.raises(UsageError, match="not traced"):
        MLModel(package).end_trace()


def test_profiles_are_processes_of_one_trace(tmp_path: Path) -> None:
    profiles = [tmp_path / "a", tmp_path / "b"]
    for path in profiles:
        path.write_text(json.dumps([{"name": path.name, "pid": 7}]))
    join_traces([profiles[0], profiles[0], profiles[1]], tmp_path / "t")
    assert json.loads((tmp_path / "t").read_text()) == [{"name": "a", "pid": 0}, {"name": "b", "pid": 1}]
    assert not any(path.exists() for path in profiles)
    with pytest.raises(ExecutionError, match="cannot be read"):
        join_traces([tmp_path / "absent"], tmp_path / "t")
