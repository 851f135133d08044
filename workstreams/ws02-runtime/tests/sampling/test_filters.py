"""Temperature and filters against their definitions, spelled out naively."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.runtime.sampling import SamplingParameters, probabilities

LOGITS = np.array([0.1, 2.0, -1.0, 2.0, 0.5, -3.0], np.float32)
NEUTRAL = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}


def softmax(order: list[int], scaled: list[float]) -> list[float]:
    largest = max(scaled[token] for token in order)
    weights = [math.exp(scaled[token] - largest) for token in order]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def until(order: list[int], shares: list[float], mass: float) -> list[int]:
    """The first tokens whose shares reach the mass, one at least."""
    before = [0.0, *accumulate(shares)]
    return [token for i, token in enumerate(order) if i == 0 or before[i] < mass]


def naive(logits: list[float], temperature: float, **filters: Any) -> dict[int, float]:
    """The definition in plain Python, likeliest first: cut to k, to the nucleus, to min-p, to the typical."""
    settings = NEUTRAL | filters
    scaled = [value / temperature for value in logits]
    order = sorted(range(len(scaled)), key=lambda token: (-scaled[token], token))
    order = order[: settings["top_k"]] if settings["top_k"] else order
    if settings["top_p"] < 1:
        order = until(order, softmax(order, scaled), settings["top_p"])
    shares = softmax(order, scaled)
    order = [token for token, share in zip(order, shares, strict=True) if share >= settings["min_p"] * shares[0]]
    if settings["typical_p"] < 1:
        shares = softmax(order, scaled)
        entropy = -math.fsum(share * math.log(share) for share in shares)
        distance = {token: abs(-math.log(share) - entropy) for token, share in zip(order, shares, strict=True)}
        by_token = dict(zip(order, shares, strict=True))
        order.sort(key=lambda token: (round(distance[token], 9), token))
        order = until(order, [by_token[token] for token in order], settings["typical_p"])
    return dict(zip(order, softmax(order, scaled), strict=True))


CASES: list[dict[str, Any]] = [
    {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    for temperature, top_k, top_p in product((0.3, 1.0, 2.5), (0, 1, 2, 5, 100), (1.0, 0.9, 0.35, 1e-9))
] + [
    {"temperature": temperature, "min_p": min_p, "typical_p": typical}
    for temperature, min_p, typical in product((0.3, 1.0, 2.5), (0.0, 1e-3, 0.21, 0.9, 1.0), (1.0, 0.95, 0.31))
]


@pytest.mark.parametrize("parameters", CASES, ids=lambda p: "-".join(f"{k}={v}" for k, v in p.items()))
def test_probabilities_are_as_defined(parameters: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    for logits in (LOGITS, rng.standard_normal(300).astype(np.float32) * 4, np.zeros(7, np.float32)):
        tokens, shares = probabilities(logits, SamplingParameters(**parameters))
        wanted = naive([float(value) for value in logits], **parameters)
        assert tokens.tolist() == sorted(wanted)
        np.testing.assert_allclose(shares, [wanted[int(token)] for token in tokens], rtol=1e-12)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"top_k": 40},
        {"top_k": 5000},
        {"top_p": 0.9},
        {"top_p": 0.999},
        {"min_p": 0.01},
        {"typical_p": 0.9},
        {"top_k": 30_000, "top_p": 0.97, "min_p": 1e-4, "typical_p": 0.95},
    ],
    ids=str,
)
@pytest.mark.parametrize("spread", [0.01, 3.0], ids=["flat", "peaked"])
def test_a_large_vocabulary(parameters: dict[str, Any], spread: float) -> None:
    """Where float32 and partial sorts come in; what stands at a filter's edge may differ by rounding."""
    logits = (np.random.default_rng(2).standard_normal(60_000) * spread).astype(np.float32)
    tokens, shares = probabilities(logits, SamplingParameters(temperature=0.8, **parameters))
    wanted = naive([float(value) for value in logits], 0.8, **parameters)
    assert len(set(tokens.tolist()) ^ set(wanted)) <= max(2, len(wanted) // 1000)
    both = [i for i, token in enumerate(tokens) if int(token) in wanted]
    np.testing.assert_allclose(shares[both], [wanted[int(tokens[i])] for i in both], rtol=1e-4)
    assert math.isclose(shares.sum(), 1, rel_tol=1e-12)
    assert all(a < b for a, b in pairwise(tokens.tolist()))


@given(
    logits=st.lists(st.integers(-40, 40), min_size=1, max_size=60),
    temperature=st.sampled_from([0.05, 0.7, 1.0, 3.0]),
    top_k=st.integers(0, 70),
    top_p=st.sampled_from([1.0, 0.99, 0.5, 0.01]),
    min_p=st.sampled_from([0.0, 0.001, 0.3, 1.0]),
    typical_p=st.sampled_from([1.0, 0.99, 0.5, 0.01]),
)
def test_invariants(
    logits: list[int], temperature: float, top_k: int, top_p: float, min_p: float, typical_p: float
) -> None:
    array = np.array(logits, np.float32) / 4
    parameters = SamplingParameters(temperature, top_k, top_p, min_p, typical_p)
    tokens, shares = probabilities(array, parameters)
    assert 1 <= len(tokens) <= (min(top_k, len(logits)) if top_k else len(logits))
    assert all(a < b for a, b in pairwise(tokens.tolist()))
    assert math.isclose(shares.sum(), 1, rel_tol=1e-12)
    assert shares.min() >= 0
    if typical_p == 1:
        assert int(np.argmax(array)) in tokens
        assert shares[0] == shares.max() or array[tokens[0]] < array.max()


@pytest.mark.parametrize("parameters", [{"top_k": 3}, {"top_p": 0.06}, {"typical_p": 0.06}], ids=str)
@pytest.mark.parametrize("size", [50, 50_000])
def test_of_equal_logits_the_lower_ids_are_kept(parameters: dict[str, Any], size: int) -> None:
    tokens, shares = probabilities(np.zeros(size, np.float32), SamplingParameters(1.0, **parameters))
    count = 3 if "top_k" in parameters else round(0.06 * size)
    assert abs(len(tokens) - count) <= 1 + size // 10_000
    assert tokens.tolist() == list(range(len(tokens)))
    assert shares.max() == shares.min()


@pytest.mark.parametrize(
    ("min_p", "kept"), [(0.0, [0, 1, 2, 3]), (0.5, [0, 1]), (1.0, [0])], ids=["off", "half", "likeliest-alone"]
)
def test_min_p_by_hand(min_p: float, kept: list[int]) -> None:
    shares = np.array([0.5, 0.26, 0.24, 0.0])
    with np.errstate(divide="ignore"):
        tokens, found = probabilities(np.log(shares), SamplingParameters(temperature=1.0, min_p=min_p))
    assert tokens.tolist() == kept
    np.testing.assert_allclose(found, shares[kept] / shares[kept].sum(), rtol=1e-12)


def test_a_tiny_temperature_is_greedy() -> None:
    tokens, shares = probabilities(np.array([1.0, 3.0, 2.0]), SamplingParameters(5e-324))
    assert tokens[shares > 0].tolist() == [1]


def test_the_smallest_temperature_of_many_candidates_is_greedy() -> None:
    """In single precision such a temperature would be 0."""
    logits = np.zeros(10_000, np.float32)
    logits[777] = 1e-3
    tokens, shares = probabilities(logits, SamplingParameters(5e-324))
    assert not np.isnan(shares).any()
    assert tokens[np.argmax(shares)] == 777 and shares.max() == 1
