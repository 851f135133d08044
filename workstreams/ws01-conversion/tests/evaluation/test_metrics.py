"""Figures against their definitions, written out with other means: loops, scipy-free sums, exact distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lilims.conversion.evaluation.metrics import Mean, Scores, by_position, score, summarise

TABLE = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [1 / 3, 1 / 3, 1 / 3]])
OTHER = np.array([[0.25, 0.5, 0.25], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]])


def logits(table: np.ndarray, shift: float = 0.0) -> np.ndarray:
    return (np.log(table) + shift).astype(np.float32)


def test_nll_is_that_of_the_table_whatever_is_added_to_logits() -> None:
    for shift in (0.0, 7.0, -3e3):
        found = score(logits(TABLE, shift), [1, 1, 0])
        np.testing.assert_allclose(found.nll, -np.log([0.25, 0.8, 1 / 3]), rtol=1e-3 if shift == -3e3 else 1e-6)
        assert not found.compared


def test_large_logits_do_not_overflow() -> None:
    np.testing.assert_allclose(score(np.array([[3e4, -3e4]], np.float32), [0]).nll, [0.0])
    np.testing.assert_allclose(score(np.array([[3e4, -3e4]], np.float32), [1]).nll, [6e4])


def test_divergence_is_from_the_reference_to_the_model() -> None:
    found = score(logits(OTHER), [0, 1, 2], logits(TABLE, 5.0))
    wanted = [sum(p * math.log(p / q) for p, q in zip(*rows, strict=True)) for rows in zip(TABLE, OTHER, strict=True)]
    np.testing.assert_allclose(found.divergence, wanted, rtol=1e-5)
    np.testing.assert_allclose(found.reference_nll, -np.log([0.5, 0.8, 1 / 3]), rtol=1e-5)
    assert found.same.tolist() == [False, True, False]
    raw = logits(OTHER).astype(float) - logits(TABLE, 5.0)
    np.testing.assert_allclose(found.square, (raw**2).mean(axis=1), rtol=1e-6)


def test_a_model_differs_from_itself_by_nothing() -> None:
    rows = np.random.default_rng(0).normal(0, 5, (50, 300)).astype(np.float32)
    summary = summarise(score(rows, list(range(50)), rows))
    against = summary.comparison
    assert against is not None
    assert (against.divergence.value, against.divergence_max, against.log_ratio.value, against.log_ratio.error) == (
        0, 0, 0, 0,
    )  # fmt: skip
    assert (against.same_top.value, against.logits_rms, against.change) == (1, 0, 0)


def llama_mean_and_uncertainty(values: np.ndarray) -> tuple[float, float]:
    """`mean_and_uncertainty` of perplexity.cpp, from sums."""
    count = len(values)
    f = values.sum() / count
    df = (values**2).sum() / count - f * f
    return f, math.sqrt(df / (count - 1))


def test_errors_are_llama_cpps() -> None:
    """Also that of ln(ppl/ppl_ref), there from a covariance, here from paired differences."""
    draw = np.random.default_rng(1)
    reference = draw.gamma(2, 1, 400)
    nll = reference + draw.normal(0.01, 0.1, 400)
    zeros = np.zeros(400)
    summary = summarise(Scores(nll, reference, draw.gamma(0.3, 0.01, 400), zeros, zeros == 0))
    against = summary.comparison
    assert against is not None
    mean, error = llama_mean_and_uncertainty(nll)
    assert summary.nll == Mean(pytest.approx(mean), pytest.approx(error))
    base_mean, base_error = llama_mean_and_uncertainty(reference)
    covariance = ((nll * reference).sum() / 400 - mean * base_mean) / 399
    assert against.log_ratio.value == pytest.approx(mean - base_mean)
    assert against.log_ratio.error == pytest.approx(math.sqrt(error**2 + base_error**2 - 2 * covariance))
    assert against.log_ratio.error < 0.2 * error  # pairing is what makes small differences visible
    assert against.change == pytest.approx(summary.perplexity / against.perplexity - 1)


def test_quantiles() -> None:
    values = np.arange(101.0)
    zeros = np.zeros(101)
    against = summarise(Scores(zeros, zeros, values, zeros + 4.0, zeros > 0)).comparison
    assert against is not None
    assert (against.divergence_median, against.divergence_p99, against.divergence_max) == (50, 99, 100)
    assert (against.logits_rms, against.same_top.value) == (2.0, 0.0)


def test_bits_per_byte() -> None:
    """Two tokens of ln 8 nats are 6 bits; over 3 bytes that is 2 bits a byte."""
    none = np.zeros(0)
    scores = Scores(np.full(2, math.log(8)), none, none, none, none > 0)
    assert summarise(scores, 3).bits_per_byte == pytest.approx(2.0)
    assert summarise(scores).bits_per_byte is None
    assert summarise(scores).perplexity == pytest.approx(8.0)


def test_intervals_hold_the_truth_19_times_in_20() -> None:
    draw = np.random.default_rng(2)
    inside = 0
    for _ in range(1000):
        low, high = Mean.of(draw.exponential(2.0, 400)).interval()
        inside += low <= 2.0 <= high
    assert 0.92 < inside / 1000 < 0.98


def test_the_curve_over_positions() -> None:
    positions = np.tile(np.arange(4, 104), 3)
    none = np.zeros(0)
    scores = Scores(positions.astype(float), none, none, none, none > 0)
    curve = by_position(scores, positions)
    assert len(curve) == 25 and sum(one.tokens for one in curve) == 300
    assert (curve[0].first, curve[0].last, curve[0].nll) == (4, 7, 5.5)
    assert (curve[-1].first, curve[-1].last) == (100, 103)
    assert curve[0].divergence is None
    assert len(by_position(Scores(np.ones(1), none, none, none, none > 0), np.array([7]))) == 1
