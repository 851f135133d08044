"""A whole model with these products: as far from exact as with ONNX Runtime's own, and the same text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lilims.conversion import convert
from lilims.core.settings import settings
from lilims.models import builtin_checkpoint
from lilims.runtime import load

PROMPT = "Once upon a time"
TOKENS = 60


@pytest.fixture(autouse=True)
def settings_read_anew() -> Iterator[None]:
    yield
    settings.cache_clear()


@pytest.fixture(scope="module", params=["int4", "int8", "int4-asym"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / request.param
    return convert(builtin_checkpoint(), out, quantize=request.param, group_size=32).folder


def ran(monkeypatch: pytest.MonkeyPatch, folder: Path, kernels: str, precision: str) -> tuple[NDArray[np.float32], str]:
    """Logits of a text's prefill and decoding, and a greedy text."""
    monkeypatch.setenv("LILIMS_KERNELS", kernels)
    settings.cache_clear()
    model = load(folder, executor="portable", precision=precision)  # type: ignore[arg-type]
    ids = model.tokenizer.encode(
        PROMPT + ", there was a little girl named Lily. She loved to play outside in the park."
    )
    session = model.session()
    rows = [np.concatenate(list(session.score(ids[:-8]))), *(session.append([token])[None] for token in ids[-8:])]
    text = "".join(token.text for token in model.generate(PROMPT, max_tokens=TOKENS, temperature=0))
    return np.concatenate(rows), text


def distance(logits: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean((logits - exact) ** 2) / np.mean(exact**2)))


def test_a_model_as_exact_as_with_the_other_products(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, _ = ran(monkeypatch, folder, "0", "exact")
    plain, story = ran(monkeypatch, folder, "0", "fast")
    native, same_story = ran(monkeypatch, folder, "1", "fast")
    assert not np.array_equal(native, plain), "the library was not used"
    assert distance(native, exact) < 1.2 * distance(plain, exact) + 1e-4
    assert (native.argmax(-1) == exact.argmax(-1)).mean() > 0.95
    assert same_story == story
