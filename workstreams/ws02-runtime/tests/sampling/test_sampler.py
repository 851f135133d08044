"""Drawing: what is drawn how often, what never, and that a seed says which."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError
from lilims.runtime.sampling import Choice, Constraint, Sampler, SamplingParameters

LOGITS = np.array([0.1, 2.0, -1.0, 2.0, 0.5, -3.0], np.float32)


class Listed:
    """A constraint that allows some ids at each place, and then ends."""

    def __init__(self, *places: Sequence[int], width: int = len(LOGITS)) -> None:
        self.places, self.done, self.width = places, 0, width

    def allowed(self) -> NDArray[np.bool_]:
        mask = np.zeros(self.width, np.bool_)
        mask[list(self.places[self.done])] = True
        return mask

    def accept(self, token: int) -> None:
        assert token in self.places[self.done]
        self.done += 1

    def acceptable(self, tokens: Sequence[int]) -> int:
        fits = [token in place for token, place in zip(tokens, self.places[self.done :], strict=False)]
        return fits.index(False) if False in fits else len(fits)

    def forced(self) -> Sequence[int]:
        return ()

    @property
    def can_stop(self) -> bool:
        return self.is_finished

    @property
    def is_finished(self) -> bool:
        return self.done == len(self.places)

    def rollback(self, count: int) -> None:
        self.done -= count

    def fork(self) -> Constraint:
        other = Listed(*self.places, width=self.width)
        other.done = self.done
        return other


def draws(seed: int, count: int, **parameters: Any) -> list[int]:
    sampler = Sampler(SamplingParameters(seed=seed, **parameters))
    return [sampler.choose(LOGITS).id for _ in range(count)]


def test_greedy_takes_the_first_of_the_largest() -> None:
    assert Sampler(SamplingParameters()).choose(LOGITS) == Choice(1)


def test_a_seed_gives_the_same_tokens_on_every_platform() -> None:
    # From a loop over cumulated shares in plain Python; numpy promises that the stream stays as it is (NEP 19).
    assert draws(42, 20, temperature=1.0) == by_hand(42, 20)
    assert draws(42, 20, temperature=1.0) == [3, 1, 3, 3, 1, 4, 3, 3, 1, 1, 1, 4, 3, 3, 1, 1, 3, 1, 3, 3]
    assert draws(42, 20, temperature=1.0) != draws(43, 20, temperature=1.0)


def by_hand(seed: int, count: int) -> list[int]:
    random = np.random.Generator(np.random.PCG64(seed))
    weights = [math.exp(float(value)) for value in LOGITS]
    found = []
    for _ in range(count):
        target, token = random.random() * math.fsum(weights), 0
        while math.fsum(weights[: token + 1]) <= target:
            token += 1
        found.append(token)
    return found


def test_a_seed_in_a_large_vocabulary() -> None:
    """The blocks that a draw goes through change nothing: the cumulated sum says the same."""
    logits = np.random.Generator(np.random.PCG64(5)).standard_normal(20_000).astype(np.float32)
    sampler, random = Sampler(SamplingParameters(1.0, seed=9)), np.random.Generator(np.random.PCG64(9))
    bounds = np.cumsum(np.exp(logits.astype(np.float64)))
    wanted = [int(np.searchsorted(bounds, random.random() * bounds[-1], side="right")) for _ in range(200)]
    assert [sampler.choose(logits).id for _ in range(200)] == wanted


def test_draws_follow_the_probabilities() -> None:
    count = 5_000
    found = Counter(draws(7, count, temperature=1.5, top_k=4))
    weights = {token: math.exp(float(LOGITS[token]) / 1.5) for token in (0, 1, 3, 4)}
    for token, weight in weights.items():
        share = weight / sum(weights.values())
        assert abs(found[token] / count - share) < 5 * math.sqrt(share * (1 - share) / count)
    assert set(found) == set(weights)


def test_without_a_seed_one_is_taken_and_told() -> None:
    first = Sampler(SamplingParameters(1.0))
    tokens = [first.choose(LOGITS).id for _ in range(10)]
    assert tokens == draws(first.seed, 10, temperature=1.0)
    assert first.seed != Sampler(SamplingParameters(1.0)).seed


# -- what is never drawn ---------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    allowed=st.lists(st.integers(0, 699), min_size=1, max_size=20),
    seed=st.integers(0, 2**32),
    temperature=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
    filters=st.sampled_from([{}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"typical_p": 0.5}]),
)
def test_a_masked_token_is_never_drawn(
    allowed: list[int], seed: int, temperature: float, filters: dict[str, Any]
) -> None:
    logits = np.random.default_rng(seed).standard_normal(700).astype(np.float32) * 5
    places = [allowed] * 8
    sampler = Sampler(SamplingParameters(temperature, seed=seed, **filters), Listed(*places, width=700))
    tokens, shares = sampler.distribution(logits)
    assert set(tokens[shares > 0].tolist()) <= set(allowed)
    assert {sampler.choose(logits).id for _ in range(8)} <= set(allowed)
    assert sampler.finished and sampler.complete


@pytest.mark.parametrize("size", [3, 5000])
def test_minus_infinity_is_never_drawn(size: int) -> None:
    logits = np.full(size, -np.inf, np.float32)
    logits[[1, size - 2]] = 0.0
    sampler = Sampler(SamplingParameters(1.0, seed=1))
    assert {sampler.choose(logits).id for _ in range(50)} == {1, size - 2}


@pytest.mark.parametrize("uniform", [0.0, math.nextafter(1, 0)])
def test_the_ends_of_the_random_number(uniform: float, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(SamplingParameters(1.0, seed=1))
    monkeypatch.setattr(sampler, "uniform", lambda: uniform)
    weights = np.array([0.0, 0.1, 0.2, 0.3, 0.0])
    assert sampler.draw(weights) == (1 if uniform == 0 else 3)
    many = np.zeros(2000)
    many[[600, 1500]] = 0.1, 0.7
    assert sampler.draw(many) == (600 if uniform == 0 else 1500)


def test_a_mask_narrower_than_the_logits_allows_nothing_more() -> None:
    sampler = Sampler(SamplingParameters(), Listed([0, 2], [0, 2], width=3))
    assert sampler.choose(LOGITS).id == 0
    assert sampler.complete is False


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("parameters", [{}, {"repetition_penalty": 1.2}], ids=["plain", "penalised"])
@pytest.mark.parametrize(
    "logits",
    [np.array([0.0, np.nan, 9.0]), np.array([0.0, np.inf]), np.full(3, -np.inf)],
    ids=["nan", "infinite", "all-minus-infinite"],
)
def test_logits_that_are_not_finite(logits: NDArray[Any], parameters: dict[str, Any], temperature: float) -> None:
    with pytest.raises(ExecutionError, match="not finite"):
        Sampler(SamplingParameters(temperature, seed=1, **parameters)).choose(logits.astype(np.float32))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nothing_left(temperature: float) -> None:
    with pytest.raises(ExecutionError, match="no token may be chosen"):
        Sampler(SamplingParameters(temperature, seed=1), Listed([])).choose(LOGITS)


# -- going on --------------------------------------------------------------------------------------------------------


def test_a_fork_goes_on_by_itself() -> None:
    parameters = SamplingParameters(1.0, repetition_penalty=1.5, presence_penalty=0.4, seed=4)
    sampler = Sampler(parameters, Listed(*[range(6)] * 30))
    sampler.observe([1])
    begun = [sampler.choose(LOGITS).id for _ in range(5)]
    twin, other = sampler.fork(), sampler.fork(seed=99)
    rest = [sampler.choose(LOGITS).id for _ in range(20)]
    assert [twin.choose(LOGITS).id for _ in range(20)] == rest
    assert [other.choose(LOGITS).id for _ in range(20)] != rest
    assert other.seed == 99
    again = Sampler(parameters, Listed(*[range(6)] * 30))
    again.observe([1])
    assert [again.choose(LOGITS).id for _ in range(25)] == begun + rest


# -- logprobs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [6, 5000])
def test_logprobs_are_the_models_own(size: int) -> None:
    logits = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    wide = logits.astype(np.float64)
    wanted = wide - np.log(np.exp(wide).sum())
    parameters = SamplingParameters(0.5, top_k=3, logit_bias={2: 50.0}, presence_penalty=1.0, seed=1, logprobs=4)
    choice = Sampler(parameters).choose(logits)
    assert choice.id == 2  # what the bias forces is told with the probability that the model gave it
    assert choice.logprob == pytest.approx(wanted[2], abs=1e-6)
    order = np.argsort(-wanted, kind="stable")[:4]
    assert [token for token, _ in choice.top] == order.tolist()
    assert [value for _, value in choice.top] == pytest.approx(wanted[order], abs=1e-6)


def test_logprobs_of_equal_logits_come_by_id_and_no_more_than_there_are() -> None:
    choice = Sampler(SamplingParameters(logprobs=9)).choose(np.zeros(4, np.float32))
    assert [token for token, _ in choice.top] == [0, 1, 2, 3]
    assert [value for _, value in choice.top] == pytest.approx([-math.log(4)] * 4)


def test_the_chosen_token_alone() -> None:
    choice = Sampler(SamplingParameters(logprobs=0)).choose(np.zeros(4, np.float32))
    assert choice.top == ()
    assert choice.logprob == pytest.approx(-math.log(4))
