"""An executor for coremltools_suite.py: each package goes to an ONNX file, which plain ONNX Runtime runs.

    EXECUTOR=conformance.exported:Exported hatch run conformance:sample

So every operator's form is tested as an exported file too, and each file is one that onnx's checker takes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from lilims.runtime.portable import MLModel, MLState, export_onnx

__all__ = ["Exported"]


class Exported:
    """A package behind `MLModel`'s interface; what runs is a file made of it.

    Users' values become arrays as `MLModel` makes them (an image its pixels), and states are kept in its `MLState`.
    """

    def __init__(self, package: str, function_name: str | None = None) -> None:
        self._model = MLModel(package, function_name, skip_model_load=True, precision="exact", kernels=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            made = export_onnx(package, file, function_name)
            onnx.checker.check_model(str(file), full_check=True)
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._states = made.states

    def make_state(self) -> MLState:
        return self._model.make_state()

    def predict(self, data: Mapping[str, Any], state: MLState | None = None) -> dict[str, Any]:
        inputs = self._model._interface.inputs
        feeds = {name: inputs[name].convert(value) for name, value in data.items()}
        for name in self._states:
            assert state is not None
            feeds[name] = state.read_state(name)
        names = [value.name for value in self._session.get_outputs()]
        found = dict(zip(names, self._session.run(names, feeds), strict=True))
        for name, out in self._states.items():
            assert state is not None
            state.write_state(name, found.pop(out))
        return {name: _given(value) for name, value in found.items()}


def _given(value: Any) -> Any:
    """A result as `MLModel` gives it: a dictionary, a label, or an array of at least one dimension."""
    if isinstance(value, list):
        return value[0]
    label = value.ndim == 0 and value.dtype in (np.object_, np.int64)
    return value.item() if label else np.atleast_1d(value)
