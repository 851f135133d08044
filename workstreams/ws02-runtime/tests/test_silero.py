"""Five published packages (Silero VAD) end to end, 150 steps, each step fed with the state of the one before.

The packages are not quite the network that made the recorded steps: their weights are fp16, the state passes through
fp16, and 2⁻²⁴ stands under the root of the spectrum, which lifts quiet bins. So a NumPy forward is first held against
the recording, without those differences, and then against the packages, with them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.testing import test_data
from lilims.runtime.portable import MLModel

FOLDER = "coreml/silero-vad"
EPSILON = 2.0**-24
PARTS = ("stft", "encoder", "decoder")


def folder() -> Path:
    return test_data(FOLDER)


@cache
def recorded() -> dict[str, Any]:
    return dict(np.load(folder() / "golden_onnx_farend_lpb.npz"))


@cache
def source_weights() -> dict[str, Any]:
    """The 16 kHz network's weights in the ONNX file that the packages were made from."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(folder() / "silero_vad.onnx").graph
    switch = next(node for node in graph.node if node.op_type == "If")
    branch = next(a.g for a in switch.attribute if a.name == "then_branch")
    constants = {n.output[0].split("__")[-1]: n.attribute[0].t for n in branch.node if n.op_type == "Constant"}
    names = [name for name in constants if name.endswith(("weight", "bias", "_buffer", "_ih", "_hh"))]
    return {name: numpy_helper.to_array(constants[name]) for name in names}


def conv(x: Any, weight: Any, bias: Any, stride: int, pad: int) -> Any:
    view = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (pad, pad))), weight.shape[2], 1)
    return np.einsum("ctk,ock->ot", view[:, ::stride], weight) + bias[:, None]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def spectrum(weights: dict[str, Any], audio: Any, epsilon: float) -> Any:
    """[576] -> [129, 4]"""
    padded = np.pad(audio, (0, 64), "reflect")[None]
    parts = conv(padded, weights["stft.forward_basis_buffer"], np.zeros(258), 128, 0)
    return np.sqrt(parts[:129] ** 2 + parts[129:] ** 2 + epsilon)


def encode(weights: dict[str, Any], x: Any) -> Any:
    """[129, frames] -> [128, 1]"""
    for layer, stride in enumerate((1, 2, 2, 1)):
        name = f"encoder.{layer}.reparam_conv"
        x = np.maximum(conv(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, 1), 0)
    return x


def decode(weights: dict[str, Any], x: Any, h: Any, c: Any) -> tuple[float, Any, Any]:
    rnn = [weights[f"decoder.rnn.{part}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    i, f, g, o = np.split(rnn[0] @ x[:, 0] + rnn[1] @ h + rnn[2] + rnn[3], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    last = weights["decoder.decoder.2.weight"][0, :, 0] @ np.maximum(h, 0) + weights["decoder.decoder.2.bias"][0]
    return float(sigmoid(last)), h, c


def rounded_weights(kind: Any) -> dict[str, Any]:
    return {name: value.astype(kind).astype(np.float64) for name, value in source_weights().items()}


@cache
def reference(like_package: bool) -> dict[str, Any]:
    """150 steps of Silero VAD v6 at 16 kHz in double precision; `like_package` takes the packages' differences in."""
    kind, epsilon = (np.float16, EPSILON) if like_package else (np.float32, 0.0)
    weights = rounded_weights(kind)
    h, c = np.zeros(128), np.zeros(128)
    steps = []
    for audio in recorded()["audio_input"].astype(kind).astype(np.float64):
        vad, h, c = decode(weights, encode(weights, spectrum(weights, audio, epsilon)), h, c)
        h, c = h.astype(kind).astype(np.float64), c.astype(kind).astype(np.float64)
        steps.append((vad, h, c))
    return gathered(steps)


def gathered(steps: list[tuple[float, Any, Any]]) -> dict[str, Any]:
    vads, hs, cs = zip(*steps, strict=True)
    return {"vad_output": np.array(vads), "hidden": np.stack(hs), "cell": np.stack(cs)}


def package(name: str, **options: Any) -> MLModel:
    return MLModel(folder() / f"{name}.mlpackage", **options)


def run_unified(model: MLModel) -> dict[str, Any]:
    h, c = np.zeros((1, 128), np.float32), np.zeros((1, 128), np.float32)
    steps = []
    for audio in recorded()["audio_input"]:
        result = model.predict({"audio_input": audio[None], "hidden_state": h, "cell_state": c})
        h, c = result["new_hidden_state"], result["new_cell_state"]
        steps.append((result["vad_output"].item(), h[0], c[0]))
    return gathered(steps)


def errors(found: dict[str, Any], expected: dict[str, Any]) -> list[float]:
    """The furthest of vad_output (0 to 1), hidden (-1 to 1) and cell (-41 to 41) over all steps."""
    return [float(np.abs(found[key] - expected[key]).max()) for key in ("vad_output", "hidden", "cell")]


def within(found: list[float], bounds: tuple[float, ...]) -> bool:
    return all(error < bound for error, bound in zip(found, bounds, strict=True))


def test_reference_follows_the_recording() -> None:
    found = errors(reference(False), recorded())
    assert within(found, (1e-5, 1e-4, 1e-3)), found


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_unified(precision: Any) -> None:
    steps = run_unified(package("silero-vad-unified-v6.0.0", precision=precision))
    found = errors(steps, reference(True))
    assert within(found, (1e-3, 5e-3, 0.1)), found
    assert np.abs(steps["vad_output"] - recorded()["vad_output"]).mean() < 0.01


def test_unified_with_every_result_rounded() -> None:
    model = package("silero-vad-unified-v6.0.0", precision="fp16")
    found = errors(run_unified(model), reference(True))
    assert model.overflows == []
    assert within(found, (5e-3, 5e-2, 0.5)), found


def test_unified_int8() -> None:
    """Its authors quantised it coarsely: the probabilities move, the decisions stay."""
    found, expected = run_unified(package("unified_int8"))["vad_output"], recorded()["vad_output"]
    assert np.abs(found - expected).mean() < 0.03
    assert np.abs(found - expected).max() < 0.12
    np.testing.assert_array_equal(found > 0.5, expected > 0.5)


def test_parts() -> None:
    """Spectrum, encoder (of one frame) and decoder as packages of their own, each against its part of the reference."""
    stft, encoder, decoder = (package(f"silero-vad-{part}-v6.0.0", precision="exact") for part in PARTS)
    weights = rounded_weights(np.float16)
    h, c = np.zeros(128), np.zeros(128)
    for audio in recorded()["audio_input"]:
        expected = spectrum(weights, audio.astype(np.float16).astype(np.float64), EPSILON)
        found = stft.predict({"audio_input": audio[None]})["stft_output"]
        np.testing.assert_allclose(found[0], expected, atol=2e-3, rtol=2e-3)
        frame = found[:, :, :1].astype(np.float16).astype(np.float32)
        features = encoder.predict({"stft_features": frame})["encoder_output"]
        np.testing.assert_allclose(features[0], encode(weights, frame[0]), atol=2e-3, rtol=2e-3)
        states = {"hidden_state": h[None].astype(np.float32), "cell_state": c[None].astype(np.float32)}
        result = decoder.predict({"encoder_output": features, **states})
        vad, h, c = decode(weights, features[0].astype(np.float16).astype(np.float64), h, c)
        np.testing.assert_allclose(result["vad_output"].item(), vad, atol=1e-3)
        np.testing.assert_allclose(result["new_hidden_state"][0], h, atol=5e-3)
        h, c = (v.astype(np.float16).astype(np.float64) for v in (h, c))
