"""Perplexity against its definition, on a model whose probabilities are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from lilims.conversion.evaluate import log_likelihoods, perplexity
from lilims.core.errors import ExecutionError, UsageError


class Bigram:
    """A model whose next token depends on the last one, with probabilities in a table."""

    context = 16

    def __init__(self, table: np.ndarray) -> None:
        self.table = table
        self.windows: list[list[int]] = []

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        self.windows.append(list(ids))
        return np.log(self.table[list(ids)]).astype(np.float32) + 7  # a constant changes nothing


TABLE = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [1 / 3, 1 / 3, 1 / 3]])


def test_log_likelihoods_are_those_of_the_table() -> None:
    ids = [0, 1, 1, 2, 0]
    found = log_likelihoods(Bigram(TABLE).logits(ids), ids)
    np.testing.assert_allclose(found, np.log([0.25, 0.8, 0.1, 1 / 3]), rtol=1e-6)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[3e4, -3e4], [0, 0]], np.float32)
    np.testing.assert_allclose(log_likelihoods(logits, [0, 0]), [0.0])


def test_windows_do_not_overlap_and_the_rest_is_left_out() -> None:
    model = Bigram(TABLE)
    ids = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]
    found = perplexity(model, ids, window=4)
    assert model.windows == [[0, 1, 2, 0], [1, 2, 0, 1]]
    nll = -np.mean(np.log([0.25, 0.1, 1 / 3, 0.1, 1 / 3, 0.25]))
    assert found.nll == pytest.approx(nll, rel=1e-6)
    assert found.value == pytest.approx(math.exp(nll), rel=1e-6)
    assert (found.tokens, found.window) == (6, 4)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    found = perplexity(Bigram(np.full((3, 3), 1 / 3)), [0, 1, 2, 1, 0, 2] * 10)
    assert found.value == pytest.approx(3.0, rel=1e-6)
    assert found.error == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("ids", "window", "message"),
    [([0, 1], None, "the text has 2 tokens"), ([0] * 40, 17, "does not fit"), ([0] * 40, 1, "does not fit")],
    ids=["short", "wide", "narrow"],
)
def test_bad_windows(ids: list[int], window: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        perplexity(Bigram(TABLE), ids, window=window)


def test_nan_logits_name_the_window() -> None:
    table = TABLE.copy()
    table[2] = np.nan
    with pytest.raises(ExecutionError, match="window 1 "):
        perplexity(Bigram(table), [0, 1, 1, 1, 0, 2, 0, 1], window=4)
