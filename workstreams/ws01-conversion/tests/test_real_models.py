"""Trained models that others published: their own reference logits, texts and tasks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lilims.conversion import convert, perplexity
from lilims.core.testing import test_data
from lilims.runtime import Model, load

Loaded = Callable[[str, str], Model]
SAMPLED = Path(__file__).parent / "references" / "stories260K_sampled.npz"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Converts (once) a model of the test data and loads it in exact precision."""
    made: dict[tuple[str, str], Model] = {}

    def make(name: str, scheme: str) -> Model:
        if (name, scheme) not in made:
            out = tmp_path_factory.mktemp("real") / f"{name}-{scheme}"
            convert(test_data(f"models/{name}"), out, quantize=scheme)  # type: ignore[arg-type]
            made[name, scheme] = load(out, precision="exact")
        return made[name, scheme]

    return make


def test_stories260k_logits(loaded: Loaded) -> None:
    """Within 2 % of the logits' deviation of a float64 forward pass, over its 64 ids."""
    folder = test_data("models/stories260K")
    wanted = np.load(folder / "logits_greedy_first64_numpy_fp64.npy")
    ids = json.loads((folder / "greedy_200.json").read_text())["greedy_ids"][:64]
    found = loaded("stories260K", "fp16").logits(ids)
    error = float(np.sqrt(np.mean((found - wanted) ** 2)))
    assert error < 0.02 * wanted.std()
    np.testing.assert_array_equal(found.argmax(1), wanted.argmax(1))


def test_stories260k_greedy_text(loaded: Loaded) -> None:
    """The recorded 200 ids and text. They may part only where the two top logits are closer than the error."""
    recorded = json.loads((test_data("models/stories260K") / "greedy_200.json").read_text())
    model = loaded("stories260K", "fp16")
    prompt, wanted = recorded["prompt_ids"], recorded["greedy_ids"]
    found = prompt + [t.id for t in model.generate(prompt, max_tokens=len(wanted) - len(prompt), ignore_eos=True)]
    if found != wanted:
        at = next(i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b)
        row = np.sort(model.logits(wanted[:at])[-1])[::-1]
        assert row[0] - row[1] < 0.01 * row.std(), f"diverges at {at}, where the top logits are {row[:2]}"
    assert model.tokenizer.decode(found).strip() == recorded["text"].strip()


def test_stories260k_prefill_then_decode(loaded: Loaded) -> None:
    ids = json.loads((test_data("models/stories260K") / "greedy_200.json").read_text())["greedy_ids"]
    model = loaded("stories260K", "fp16")
    whole, stepped = model.logits(ids), model.step_logits(ids, prefill=150)
    np.testing.assert_allclose(stepped, whole[149:], rtol=0, atol=2e-3 * whole.std())


@pytest.fixture(scope="module")
def sampled() -> list[list[int]]:
    """4,000 of the 20,000 tokens that the fp16 package drew itself (tools/sample_evaluation_text.py)."""
    with np.load(SAMPLED) as file:
        assert file["ids"].shape == (40, 500)
        ids: list[list[int]] = file["ids"][:8].tolist()
    return ids


def test_stories260k_sampled_text_is_its_own(loaded: Loaded, sampled: list[list[int]]) -> None:
    """What a model draws at temperature 1 costs it on average its own entropy, text by text and token by token."""
    excess = []
    for ids in sampled:
        logits = loaded("stories260K", "fp16").logits(ids)[:-1].astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        excess.append(-logs[np.arange(len(logs)), ids[1:]] + (np.exp(logs) * logs).sum(1))  # loss − entropy
    all_ = np.concatenate(excess)
    assert abs(all_.mean()) < 4 * all_.std() / np.sqrt(len(all_))


@pytest.mark.parametrize(("scheme", "most"), [("int8", 0.01), ("int4", 0.30)])
def test_stories260k_quantised_perplexity(
    loaded: Loaded,
    sampled: list[list[int]],
    scheme: str,
    most: float,
    record_property: Callable[[str, object], None],
) -> None:
    """What round-to-nearest loses, printed; so small a model loses much at int4."""
    ids = list(itertools.chain.from_iterable(sampled))
    base = perplexity(loaded("stories260K", "fp16"), ids, window=500).value
    found = perplexity(loaded("stories260K", scheme), ids, window=500).value
    change = found / base - 1
    record_property("perplexity_change", change)
    print(f"stories260K {scheme}: perplexity {base:.4f} -> {found:.4f} ({change:+.2%})")
    assert abs(change) < most


def test_gpt_nano_sort_logits(loaded: Loaded) -> None:
    """Its authors' own logits: every position of their three examples."""
    with np.load(test_data("models/gpt-nano-sort") / "golden.npz") as golden:
        examples = list(zip(golden["idx"].tolist(), golden["logits"], strict=True))
    for ids, wanted in examples:
        found = loaded("gpt-nano-sort", "fp16").logits(ids)
        assert float(np.sqrt(np.mean((found - wanted) ** 2))) < 0.02 * wanted.std(), ids
        np.testing.assert_array_equal(found[5:].argmax(1), wanted[5:].argmax(1))  # from the last letter on it sorts


@pytest.mark.parametrize(("scheme", "step"), [("fp16", 1), ("int8", 13)])
def test_gpt_nano_sort_sorts(loaded: Loaded, scheme: str, step: int) -> None:
    """Every one of the 729 inputs of six letters over A, B, C; in int8 every 13th."""
    model = loaded("gpt-nano-sort", scheme)
    wrong = []
    for letters in list(itertools.product(range(3), repeat=6))[::step]:
        found = [t.id for t in model.generate(list(letters), max_tokens=6, ignore_eos=True)]
        if found != sorted(letters):
            wrong.append(letters)
    assert len(wrong) <= 7, wrong  # 99 %: the float model itself is not perfect
