"""An exported file as anyone would run it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from lilims.runtime.portable import MLModel, export_onnx

Save = Callable[..., Path]


class Plain:
    """An ONNX file as anyone would run it: nothing but ONNX Runtime, and the convention of states."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        self.states = json.loads(self.metadata["states"])
        inputs = {value.name: value for value in self.session.get_inputs()}
        self.held = {name: np.zeros(inputs[name].shape, np.float32) for name in self.states}
        self.shapes = {name: value.shape for name, value in inputs.items() if name not in self.states}

    def __call__(self, feeds: dict[str, Any]) -> dict[str, Any]:
        names = [value.name for value in self.session.get_outputs()]
        found = dict(zip(names, self.session.run(names, {**feeds, **self.held}), strict=True))
        self.held = {name: found.pop(out) for name, out in self.states.items()}
        return found


def exported(package: Path, target: Path, **options: Any) -> Plain:
    """The package as a file that ONNX's checker takes."""
    made = export_onnx(package, target, **options)
    onnx.checker.check_model(str(target), full_check=not made.contrib_ops)
    return Plain(target)


def assert_same(plain: Plain, model: MLModel, steps: list[dict[str, Any]]) -> None:
    state = model.make_state() if plain.states else None
    for feeds in steps:
        found, expected = plain(feeds), model.predict(feeds, state)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(np.atleast_1d(found[name]), value, atol=1e-5, rtol=1e-5, err_msg=name)
        for name, value in plain.held.items():
            assert state is not None
            np.testing.assert_allclose(value, state.read_state(name), atol=1e-5, rtol=1e-5, err_msg=name)
