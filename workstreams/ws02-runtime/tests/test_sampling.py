"""Sampling against its definitions, spelled out naively."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError, UsageError
from lilims.runtime.sampling import Sampler, SamplingParameters, probabilities

LOGITS = np.array([0.1, 2.0, -1.0, 2.0, 0.5, -3.0], np.float32)


def naive(logits: list[float], temperature: float, top_k: int, top_p: float) -> list[tuple[int, float]]:
    """The definition in plain Python: order, cut to k, softmax, cut to the nucleus, softmax again."""
    scaled = [value / temperature for value in logits]
    order = sorted(range(len(scaled)), key=lambda token: (-scaled[token], token))
    order = order[:top_k] if top_k else order
    weights = [math.exp(scaled[token] - scaled[order[0]]) for token in order]
    shares = [weight / math.fsum(weights) for weight in weights]
    kept = [i for i in range(len(order)) if top_p == 1 or i == 0 or math.fsum(shares[:i]) < top_p]
    total = math.fsum(shares[i] for i in kept)
    return [(order[i], shares[i] / total) for i in kept]


CASES = [
    (temperature, top_k, top_p)
    for temperature in (0.3, 1.0, 2.5)
    for top_k in (0, 1, 2, 5, 100)
    for top_p in (1.0, 0.9, 0.35, 1e-9)
]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), CASES)
def test_probabilities_are_as_defined(temperature: float, top_k: int, top_p: float) -> None:
    rng = np.random.default_rng(1)
    for logits in (LOGITS, rng.standard_normal(300).astype(np.float32) * 4, np.zeros(7, np.float32)):
        tokens, shares = probabilities(logits, SamplingParameters(temperature, top_k, top_p))
        wanted = naive([float(value) for value in logits], temperature, top_k, top_p)
        assert [int(token) for token in tokens] == [token for token, _ in wanted]
        np.testing.assert_allclose(shares, [share for _, share in wanted], rtol=1e-12)


@given(
    logits=st.lists(st.integers(-40, 40), min_size=1, max_size=60),
    temperature=st.sampled_from([0.05, 0.7, 1.0, 3.0]),
    top_k=st.integers(0, 70),
    top_p=st.sampled_from([1.0, 0.99, 0.5, 0.01]),
)
def test_invariants(logits: list[int], temperature: float, top_k: int, top_p: float) -> None:
    array = np.array(logits, np.float32) / 4
    tokens, shares = probabilities(array, SamplingParameters(temperature, top_k, top_p))
    assert 1 <= len(tokens) <= (min(top_k, len(logits)) if top_k else len(logits))
    assert len(set(tokens.tolist())) == len(tokens)
    assert math.isclose(shares.sum(), 1, rel_tol=1e-12)
    assert all(a >= b for a, b in pairwise(shares))
    assert tokens[0] == int(np.argmax(array))


def test_of_equal_logits_the_lower_id_is_kept() -> None:
    tokens, _ = probabilities(np.zeros(50, np.float32), SamplingParameters(1.0, top_k=3))
    assert tokens.tolist() == [0, 1, 2]


def test_greedy_takes_the_first_of_the_largest() -> None:
    assert Sampler(SamplingParameters()).choose(LOGITS) == 1


def test_a_tiny_temperature_is_greedy() -> None:
    assert Sampler(SamplingParameters(5e-324, seed=1)).choose(np.array([1.0, 3.0, 2.0])) == 1


def draws(seed: int, count: int, **parameters: Any) -> list[int]:
    sampler = Sampler(SamplingParameters(seed=seed, **parameters))
    return [sampler.choose(LOGITS) for _ in range(count)]


def test_a_seed_gives_the_same_tokens_on_every_platform() -> None:
    # From a loop over cumulated shares in plain Python; numpy promises that the stream stays as it is (NEP 19).
    assert draws(42, 20, temperature=1.0) == [3, 3, 4, 3, 1, 0, 3, 3, 1, 3, 1, 0, 3, 3, 3, 1, 3, 1, 4, 3]
    assert draws(42, 20, temperature=1.0) != draws(43, 20, temperature=1.0)


def test_draws_follow_the_probabilities() -> None:
    count = 5_000
    found = Counter(draws(7, count, temperature=1.5, top_k=4))
    for token, share in naive([float(v) for v in LOGITS], 1.5, 4, 1.0):
        assert abs(found[token] / count - share) < 5 * math.sqrt(share * (1 - share) / count)
    assert set(found) == {0, 1, 3, 4}


def test_without_a_seed_one_is_taken_and_told() -> None:
    first = Sampler(SamplingParameters(1.0))
    tokens = [first.choose(LOGITS) for _ in range(10)]
    assert tokens == draws(first.seed, 10, temperature=1.0)
    assert first.seed != Sampler(SamplingParameters(1.0)).seed


def test_minus_infinity_is_never_drawn() -> None:
    logits = np.array([-np.inf, 0.0, -np.inf], np.float32)
    sampler = Sampler(SamplingParameters(1.0, seed=1))
    assert {sampler.choose(logits) for _ in range(20)} == {1}


@pytest.mark.parametrize(
    "logits",
    [np.array([0.0, np.nan, 9.0]), np.array([0.0, np.inf]), np.full(3, -np.inf)],
    ids=["nan", "infinite", "all-minus-infinite"],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite(logits: NDArray[Any], temperature: float) -> None:
    with pytest.raises(ExecutionError, match="not finite"):
        Sampler(SamplingParameters(temperature, seed=1)).choose(logits.astype(np.float32))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"top_k": -1}, "top-k"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": 1.1}, "top-p"),
        ({"top_p": math.nan}, "top-p"),
        ({"seed": -1}, "seed"),
    ],
)
def test_values_out_of_range(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SamplingParameters(**parameters)
