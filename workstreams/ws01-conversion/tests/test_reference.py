"""Packages, run exactly by the portable executor, against what transformers computed for the stored weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.runtime import load

from .conftest import MODELS, SCHEMES, reference, write_tensors

CASES = [(name, scheme) for name in MODELS for scheme in SCHEMES[name]]
FIRST = [name for name in MODELS if len(SCHEMES[name]) > 1]
GREEDY = [(name, scheme) for name in MODELS for scheme in SCHEMES[name] if len(SCHEMES[name]) > 1]


def swept(cases: list[tuple[str, str]]) -> list[Any]:
    """Cases as parameters; all but two models' are slow."""
    slow = {name: [] if name in ("llama", "gpt2") else [pytest.mark.slow] for name in MODELS}
    return [pytest.param(*case, id="-".join(case), marks=slow[case[0]]) for case in cases]


def relative_rms(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean square of the difference over the standard deviation of what is wanted."""
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())


def assert_same_choice(found: np.ndarray, wanted: np.ndarray) -> None:
    """Every top-1 is equal, but where the two top logits are closer than the error that is allowed.

    For weights and prompts that nobody has looked at; those that are recorded have no such position.
    """
    top = np.sort(wanted, axis=1)
    clear = top[:, -1] - top[:, -2] > 4e-3 * wanted.std()
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found.argmax(1)[clear], wanted.argmax(1)[clear])


@pytest.mark.parametrize(("name", "scheme"), swept(CASES))
def test_logits_of_every_position(converted: Callable[..., Path], name: str, scheme: str) -> None:
    recorded = reference(name)
    model = load(converted(name, scheme), precision="exact")
    found = model.logits(recorded.arrays["prompt"].tolist())
    wanted = recorded.arrays[f"logits_{scheme}"]
    assert found.shape == wanted.shape
    assert relative_rms(found, wanted) < 1e-3
    np.testing.assert_array_equal(found.argmax(1), wanted.argmax(1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "split"), [(name, split) for name in MODELS for split in ([1, 7, 47] if name in FIRST else [13])]
)
def test_prefill_then_decode_equals_one_pass(converted: Callable[..., Path], name: str, split: int) -> None:
    """The last logits of a prefill and of each decode step are those of `score` at their positions."""
    model = load(converted(name), precision="exact")
    ids = reference(name).arrays["prompt"].tolist()
    stepped = model.step_logits(ids, prefill=split)
    whole = model.logits(ids)[split - 1 :]
    np.testing.assert_allclose(stepped, whole, rtol=0, atol=2e-3 * whole.std())


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST)
def test_decomposed_attention_equals_the_op(converted: Callable[..., Path], name: str) -> None:
    ids = reference(name).arrays["prompt"].tolist()
    op, parts = (load(converted(name, "fp16", form), precision="exact").logits(ids) for form in ("sdpa", "decomposed"))
    assert relative_rms(parts, op) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_fp16_arithmetic_stays_close_and_finite(converted: Callable[..., Path], name: str) -> None:
    """Every op's result rounded to fp16, as a device would: no overflow, and logits near the exact ones.

    Where two experts are nearly tied, rounding may choose the other one: a mixture has a wider bound.
    """
    recorded = reference(name)
    found = load(converted(name), precision="fp16").logits(recorded.arrays["prompt"].tolist())
    mixture = any("experts" in key for key in recorded.config)
    assert np.isfinite(found).all()
    assert relative_rms(found, recorded.arrays["logits_fp16"]) < (2e-2 if mixture else 1e-2)


@pytest.mark.parametrize(("name", "scheme"), swept(GREEDY))
def test_greedy_continuation(converted: Callable[..., Path], name: str, scheme: str) -> None:
    recorded = reference(name)
    model = load(converted(name, scheme), precision="exact")
    wanted = recorded.arrays[f"greedy_{scheme}"].tolist()
    prompt = recorded.arrays["greedy_prompt"].tolist()
    found = [t.id for t in model.generate(prompt, max_tokens=len(wanted), ignore_eos=True)]
    assert found == wanted


def test_of_equal_experts_the_first_are_taken(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    """A router of zeros, two of four experts active: the logits are those of a model with the first two alone."""
    from lilims.conversion import convert
    from lilims.conversion.sources.checkpoint import Checkpoint

    source = Checkpoint(checkpoint_of("mixtral"))
    tensors = {name: source.tensor(name) for name in source.names}
    tensors = {name: values * (0 if ".gate.weight" in name else 1) for name, values in tensors.items()}
    first = {name: v for name, v in tensors.items() if ".experts.2." not in name and ".experts.3." not in name}
    first = {name: v[:2] if ".gate.weight" in name else v for name, v in first.items()}
    found = []
    for count, kept in ((4, tensors), (2, first)):
        folder = tmp_path / str(count)
        folder.mkdir()
        config = {**reference("mixtral").config, "num_local_experts": count, "num_experts_per_tok": 2}
        (folder / "config.json").write_text(json.dumps(config))
        write_tensors(folder / "model.safetensors", kept)
        made = convert(folder, tmp_path / f"model{count}", quantize="fp16")
        found.append(load(made.folder, precision="exact").logits(list(range(40))))
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("scheme", ["fp16", "int8", "int4"])
@pytest.mark.parametrize("name", MODELS)
def test_parity_live(tmp_path: Path, record_tool: object, name: str, scheme: str) -> None:
    """Other weights and another prompt, of 48 tokens, compared with transformers as it is installed."""
    from lilims.conversion import convert
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    seed = 11
    config = reference(name).config
    write_random_checkpoint(config, tmp_path / "checkpoint", seed=seed)
    prompt = np.random.default_rng(seed).integers(0, config["vocab_size"], 48).tolist()
    wanted = record_tool.reference(tmp_path / "checkpoint", scheme, prompt, greedy=False)[f"logits_{scheme}"]  # type: ignore[attr-defined]
    convert(tmp_path / "checkpoint", tmp_path / "model", quantize=scheme)  # type: ignore[arg-type]
    found = load(tmp_path / "model", precision="exact").logits(prompt)
    assert relative_rms(found, wanted) < 1e-3
    assert_same_choice(found, wanted)
