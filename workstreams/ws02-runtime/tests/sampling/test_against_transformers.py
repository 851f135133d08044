"""Every processor, and their order, against what transformers' `generate` would draw from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .cases import CASES, logits, ours, theirs

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "sampling.json").read_text("utf-8"))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_recorded_distribution(name: str, seed: int) -> None:
    recorded = RECORDED["cases"][name][str(seed)]
    found = ours(CASES[name], logits(seed))
    assert np.flatnonzero(found).tolist() == recorded["tokens"]
    np.testing.assert_allclose(found[recorded["tokens"]], recorded["shares"], rtol=1e-9)


def test_every_field_is_compared() -> None:
    named = {field for parameters in CASES.values() for field in parameters}
    assert named == {"temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "logit_bias"}


@pytest.mark.parametrize("name", CASES)
def test_a_case_changes_the_distribution(name: str) -> None:
    """A setting that did nothing would compare nothing."""
    assert abs(ours(CASES[name], logits(1)) - ours({"temperature": 1.0}, logits(1))).max() > 1e-4


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(100, 105))
@pytest.mark.parametrize("name", CASES)
def test_live(name: str, seed: int) -> None:
    found, wanted = ours(CASES[name], logits(seed)), theirs(CASES[name], logits(seed))
    assert np.flatnonzero(found).tolist() == np.flatnonzero(wanted).tolist()
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
