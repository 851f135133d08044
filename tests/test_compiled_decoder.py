"""A decoder that lilims converted, as the compiled folder that Core ML would make of it: the same to the bit."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.testing import test_data as data
from lilims.runtime.portable import MLModel

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")
WRITER = Path(__file__).parents[1] / "workstreams" / "ws02-runtime" / "tests" / "portable" / "mil_writer.py"
STEPS = 6


def writer() -> Any:
    """The writer of compiled folders, which the runtime's own tests have."""
    spec = importlib.util.spec_from_file_location("mil_writer", WRITER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("scheme", "version"), [("fp16", "1.0"), ("int4", "1.3")])
def test_decoding_over_a_state(tmp_path: Path, scheme: str, version: str) -> None:
    from lilims.conversion import convert

    made = convert(data("models/stories260K"), tmp_path / "tiny", quantize=scheme)
    package = made.folder / "model.mlpackage"
    folder = writer().compiled(package, version)
    models = [MLModel(path, "decode", precision="exact", threads=1) for path in (package, folder)]
    assert models[0].function_names == models[1].function_names
    assert [list(model.input_description) for model in models] == [list(models[0].input_description)] * 2
    states = [model.make_state() for model in models]
    rng = np.random.default_rng(0)
    features = {f.name: f for f in models[1].get_spec().description.functions}["decode"].input
    shapes = {feature.name: tuple(feature.type.multiArrayType.shape) for feature in features}
    for step in range(STEPS):
        given = {name: np.float32(rng.normal(size=shape)) for name, shape in shapes.items()}
        given["input_ids"] = np.full(shapes["input_ids"], 7 + step, np.int32)
        given["slot"] = np.full(shapes["slot"], step, np.int32)
        one, other = (model.predict(given, state) for model, state in zip(models, states, strict=True))
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])
            assert np.ptp(value) > 0
    (name,) = models[0].state_description
    np.testing.assert_array_equal(states[0].read_state(name), states[1].read_state(name))
    assert np.any(states[1].read_state(name))
