"""Packages, run exactly by the portable executor, against what transformers computed for the stored weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lilims.conversion.architectures import supported
from lilims.runtime import load

from .conftest import reference

SCHEMES = ("fp16", "int8", "int4")
CASES = [(name, scheme) for name in supported() for scheme in SCHEMES]
IDS = ["-".join(case) for case in CASES]


def relative_rms(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean square of the difference over the standard deviation of what is wanted."""
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())


@pytest.mark.parametrize(("name", "scheme"), CASES, ids=IDS)
def test_logits_of_every_position(converted: Callable[..., Path], name: str, scheme: str) -> None:
    recorded = reference(name)
    model = load(converted(name, scheme), precision="exact")
    found = model.logits(recorded.arrays["prompt"].tolist())
    wanted = recorded.arrays[f"logits_{scheme}"]
    assert found.shape == wanted.shape
    assert relative_rms(found, wanted) < 1e-3
    np.testing.assert_array_equal(found.argmax(1), wanted.argmax(1))


@pytest.mark.parametrize("split", [1, 7, 27])
@pytest.mark.parametrize("name", supported())
def test_prefill_then_decode_equals_one_pass(converted: Callable[..., Path], name: str, split: int) -> None:
    """The last logits of a prefill and of each decode step are those of `score` at their positions."""
    model = load(converted(name), precision="exact")
    ids = reference(name).arrays["prompt"].tolist()
    stepped = model.step_logits(ids, prefill=split)
    whole = model.logits(ids)[split - 1 :]
    np.testing.assert_allclose(stepped, whole, rtol=0, atol=2e-3 * whole.std())


@pytest.mark.parametrize("name", supported())
def test_decomposed_attention_equals_the_op(converted: Callable[..., Path], name: str) -> None:
    ids = reference(name).arrays["prompt"].tolist()
    op, parts = (load(converted(name, "fp16", form), precision="exact").logits(ids) for form in ("sdpa", "decomposed"))
    assert relative_rms(parts, op) < 1e-3


@pytest.mark.parametrize("name", supported())
def test_fp16_arithmetic_stays_close_and_finite(converted: Callable[..., Path], name: str) -> None:
    """Every op's result rounded to fp16, as a device would: no overflow, and logits near the exact ones."""
    recorded = reference(name)
    found = load(converted(name), precision="fp16").logits(recorded.arrays["prompt"].tolist())
    assert np.isfinite(found).all()
    assert relative_rms(found, recorded.arrays["logits_fp16"]) < 2e-2


@pytest.mark.parametrize(("name", "scheme"), CASES, ids=IDS)
def test_greedy_continuation(converted: Callable[..., Path], name: str, scheme: str) -> None:
    recorded = reference(name)
    model = load(converted(name, scheme), precision="exact")
    wanted = recorded.arrays[f"greedy_{scheme}"].tolist()
    prompt = recorded.arrays["prompt"].tolist()
    found = [t.id for t in model.generate_tokens(prompt, max_tokens=len(wanted), stop_at_eos=False)]
    assert found == wanted


@pytest.mark.parity
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("name", supported())
def test_parity_live(tmp_path: Path, record_tool: object, name: str, seed: int, scheme: str) -> None:
    """Other weights and another prompt, of 48 tokens, compared with transformers as it is installed."""
    from lilims.conversion import convert
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    config = reference(name).config
    write_random_checkpoint(config, tmp_path / "checkpoint", seed=seed)
    prompt = np.random.default_rng(seed).integers(0, config["vocab_size"], 48).tolist()
    wanted = record_tool.reference(tmp_path / "checkpoint", scheme, prompt, greedy=False)[f"logits_{scheme}"]  # type: ignore[attr-defined]
    convert(tmp_path / "checkpoint", tmp_path / "model", quantize=scheme)  # type: ignore[arg-type]
    found = load(tmp_path / "model", precision="exact").logits(prompt)
    assert relative_rms(found, wanted) < 1e-3
    np.testing.assert_array_equal(found.argmax(1), wanted.argmax(1))
