"""A converted decoder as an ONNX file, run by a process that has never heard of lilims."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.testing import test_data as find_data

PLAIN = """
import json, sys
import numpy as np
import onnxruntime

model, feeds, results = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
states = json.loads(session.get_modelmeta().custom_metadata_map["states"])
inputs = {value.name: value for value in session.get_inputs()}
held = {name: np.zeros(inputs[name].shape, np.float32) for name in states}
given = dict(np.load(feeds))
logits = []
for step in range(len(given["slot"])):
    names = [value.name for value in session.get_outputs()]
    found = dict(zip(names, session.run(names, {**{name: all[step] for name, all in given.items()}, **held})))
    held = {name: found[out] for name, out in states.items()}
    logits.append(found["logits"])
assert not any(name.split(".")[0] == "lilims" for name in sys.modules)
np.savez(results, logits=np.stack(logits), **held)
"""
STEPS = 3


def feeds_of(model: Any) -> dict[str, Any]:
    """Values for a function's inputs, for each step: tokens one after the other, each seeing those before it."""
    numbers, found = np.random.default_rng(7), {}
    for name, feature in model._interface.inputs.items():
        shape = (STEPS, *(size or 1 for size in feature.type.shape))
        if name == "slot":
            continue
        if name == "attention_mask":
            tokens, rows = shape[-2:]
            places = np.arange(STEPS * tokens).reshape(STEPS, 1, 1, tokens, 1)
            found[name] = np.where(np.arange(rows) <= places, 0, -1e4).astype(np.float32)
            found["slot"] = (np.arange(STEPS, dtype=np.int32) * tokens)[:, None]
        elif feature.type.is_float:
            found[name] = numbers.uniform(-1, 1, shape).astype(np.float16).astype(np.float32)
        else:
            found[name] = numbers.integers(0, 100, shape).astype(np.int32)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build: nothing to convert with")
@pytest.mark.parametrize(
    ("scheme", "function", "precision"),
    [
        ("fp16", "decode", "exact"),
        ("int8", "decode", "fast"),
        ("int4", "decode", "exact"),
        ("int4", "decode", "fast"),
        ("int4", "prefill", "exact"),
    ],
)
def test_a_decoder_in_plain_onnxruntime(scheme: Any, function: str, precision: Any, tmp_path: Path) -> None:
    import onnx

    from lilims.conversion import convert
    from lilims.runtime.portable import MLModel, export_onnx

    convert(find_data("models/stories260K"), tmp_path / "tiny", quantize=scheme)
    package, target = tmp_path / "tiny" / "model.mlpackage", tmp_path / "tiny.onnx"
    made = export_onnx(package, target, function, precision=precision)
    onnx.checker.check_model(str(target), full_check=True)
    assert made.states == {"kv_cache": "kv_cache_out"}
    assert bool(made.contrib_ops) == (scheme != "fp16")
    model = MLModel(package, function, precision=precision, kernels=False)
    feeds, state = feeds_of(model), model.make_state()
    np.savez(tmp_path / "feeds.npz", **feeds)
    command = [sys.executable, "-c", PLAIN, str(target), str(tmp_path / "feeds.npz"), str(tmp_path / "results.npz")]
    subprocess.run(command, check=True, timeout=120)
    found = np.load(tmp_path / "results.npz")
    for step in range(STEPS):
        expected = model.predict({name: values[step] for name, values in feeds.items()}, state)
        np.testing.assert_allclose(found["logits"][step], expected["logits"], atol=2e-4)
    np.testing.assert_allclose(found["kv_cache"], state.read_state("kv_cache"), atol=2e-3)
    assert np.abs(found["kv_cache"]).max() > 0.1


def test_a_model_folder_by_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("coremltools")
    from click.testing import CliRunner

    from lilims.conversion import convert
    from lilims.core.console import console
    from lilims.runtime.commands.export_onnx import command

    convert(find_data("models/stories260K"), tmp_path / "tiny.v2", quantize="int4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "json", False)  # the option changes it
    done = CliRunner().invoke(command, ["tiny.v2", "--json", "--function", "score", "--precision", "fast"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["files"], found["function"]) == (["tiny.v2.onnx"], "score")
    assert "com.microsoft.MatMulNBits" in found["contrib_ops"]
