"""Scaled channels: the model stays what it is, and loses less by being rounded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lilims.conversion import convert
from lilims.conversion.calibration import chain
from lilims.conversion.calibration.scales import Fold, best_scales, rows_divided
from lilims.conversion.quantize import parse_scheme, quantize
from lilims.conversion.stored import Dense, Palettized
from lilims.core.events import Event, listening
from lilims.core.testing import test_data
from lilims.runtime import load
from lilims.tokenizer import Tokenizer

Floats = NDArray[np.float32]

FAMILIES = (
    "llama", "gpt2", "qwen3_moe",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma2", "cohere", "phi")),
)  # fmt: skip
OPTIONS: dict[str, Any] = {"calibrate": "self", "calibration_tokens": 32, "context": 32}


def logits(folder: Path) -> Floats:
    return load(folder, precision="exact").logits(list(range(3, 27)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_under_scales_is_the_same_model(
    family: str, checkpoint_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = checkpoint_of(family)
    convert(source, tmp_path / "fp16", quantize="fp16", context=32)
    convert(source, tmp_path / "plain", quantize="int8-search", context=32)
    drawn = []

    def any_scales(fold: Fold, matrices: dict[str, Floats], _rounded: object, moments: Floats) -> Floats:
        scales = np.exp2(np.random.default_rng(len(drawn)).uniform(-2, 2, len(moments))).astype(np.float32)
        drawn.append(fold)
        return np.ascontiguousarray(fold.shared(scales))

    monkeypatch.setattr(chain, "best_scales", any_scales)
    made = convert(source, tmp_path / "scaled", quantize="int8-awq", **OPTIONS)
    assert drawn, f"{family}: nothing was scaled"
    wanted, plain, found = (logits(tmp_path / name) for name in ("fp16", "plain", "scaled"))
    spread = float(np.std(wanted))
    error, usual = (float(np.sqrt(np.mean((values - wanted) ** 2))) / spread for values in (found, plain))
    assert error < 4 * usual + 2e-3, f"{family}: {error:.2%} off, {usual:.2%} without scales, {drawn}"
    assert made.manifest.quantization.scheme == "int8-awq"


def test_less_is_lost(tmp_path: Path) -> None:
    from lilims.conversion.evaluation.measure import evaluate_ids
    from lilims.conversion.evaluation.sources import PackageSpec

    source, text = test_data("models/stories260K"), tmp_path / "story.txt"
    with np.load(Path(__file__).parents[1] / "references" / "stories260K_sampled.npz") as file:
        ids, words = file["ids"][20:22].ravel().tolist(), file["ids"][:4].ravel().tolist()
    text.write_text(Tokenizer.load(source).decode(words), "utf-8")
    convert(source, tmp_path / "fp16", quantize="fp16", context=256)
    found = []
    for scheme in ("int4-search", "int4-awq"):
        made = convert(
            source, tmp_path / scheme, quantize=scheme, calibrate=str(text), calibration_tokens=1024, context=256
        )
        reference = PackageSpec(tmp_path / "fp16")
        measured = evaluate_ids(PackageSpec(made.folder), ids, reference=reference, context=256, jobs=1)
        assert measured.summary.comparison is not None
        found.append(measured.summary.comparison.divergence.value)
    assert found[1] < 0.95 * found[0], found


def test_an_interrupted_conversion_is_the_same(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    class Enough(BaseException):
        pass

    def stop(event: Event) -> None:
        if event.name == "calibrate.unit" and event.fields["unit"] == "layer-0":
            raise Enough

    def weights(name: str) -> str:
        return hashlib.sha256(next((tmp_path / name).rglob("weight.bin")).read_bytes()).hexdigest()

    source = checkpoint_of("llama")
    with listening(stop), pytest.raises(Enough):
        convert(source, tmp_path / "m", quantize="int4-awq", **OPTIONS)
    for name in ("m", "again"):
        convert(source, tmp_path / name, quantize="int4-awq", **OPTIONS)
    assert weights("m") == weights("again")


def test_a_channel_that_counts_most_is_scaled_up() -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((64, 64), np.float32)
    x = rng.standard_normal((512, 64), np.float32)
    x[:, 5] *= 30

    def rounded(_role: str, values: Floats) -> Floats:
        return quantize(values, parse_scheme("int4-g64"), name="w").dequantize()

    scales = best_scales(Fold(norm="n"), {"w": weights}, rounded, x.T @ x)
    assert scales is not None
    assert int(np.argmax(scales)) == 5
    off = weights - rounded("w", weights * scales) / scales
    plain = weights - rounded("w", weights)
    assert np.square(x @ off.T).sum() < 0.5 * np.square(x @ plain.T).sum()
    assert best_scales(Fold(norm="n"), {"w": weights}, rounded, np.zeros((64, 64), np.float32)) is None
    assert best_scales(Fold(norm="n"), {"w": weights}, lambda _role, values: values * 1, np.eye(64)) is None


@pytest.mark.parametrize("scheme", ["fp16", "int4", "int8-channel", "int4-asym"])
def test_rows_are_divided_in_their_form(scheme: str) -> None:
    values = np.random.default_rng(1).standard_normal((32, 64), np.float32)
    by = np.exp2(np.arange(32) % 5 - 2).astype(np.float32)  # powers of two: nothing is rounded
    stored = quantize(values, parse_scheme(scheme), name="w")
    divided = rows_divided(stored, by)
    assert divided is not None
    assert type(divided) is type(stored)
    np.testing.assert_array_equal(divided.dequantize(), stored.dequantize() / by[:, None])


def test_rows_of_a_table_are_not() -> None:
    stored = quantize(np.ones((32, 64), np.float32), parse_scheme("lut4-r8"), name="w")
    assert isinstance(stored, Palettized)
    assert rows_divided(stored, np.ones(32, np.float32)) is None
    assert isinstance(rows_divided(Dense(np.ones((2, 3), np.float16)), np.ones(2, np.float32)), Dense)
