"""Bias and penalties against their formulas, written out token by token."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.core.errors import UsageError
from lilims.runtime.sampling import Sampler, SamplingParameters

LOGITS = np.array([2.0, 1.9, -1.0, 0.5], np.float32)


def after(prompt: list[int], answer: list[int], **parameters: Any) -> Sampler:
    sampler = Sampler(SamplingParameters(**parameters))
    sampler.observe(prompt)
    for token in answer:
        sampler.accept(token)
    return sampler


def chosen(prompt: list[int], answer: list[int], **parameters: Any) -> int:
    return after(prompt, answer, **parameters).choose(LOGITS).id


def test_repetition_looks_at_the_prompt() -> None:
    assert chosen([0], [], repetition_penalty=1.2) == 1  # 2 / 1.2 is below 1.9


def test_presence_looks_at_the_answer_alone() -> None:
    assert chosen([0], [], presence_penalty=0.2) == 0
    assert chosen([], [0, 0, 0], presence_penalty=0.2) == 1
    assert chosen([], [0, 0, 0], presence_penalty=0.09) == 0  # however often it stands there


def test_frequency_counts() -> None:
    assert chosen([0, 0, 0, 0], [0, 0], frequency_penalty=0.04) == 0
    assert chosen([], [0, 0, 0], frequency_penalty=0.04) == 1


def test_a_negative_logit_is_multiplied() -> None:
    sampler = after([0, 1], [], temperature=1.0, repetition_penalty=2.0)
    _, shares = sampler.distribution(np.array([-1.0, 1.0, 0.0], np.float32))
    wanted = np.exp([-2.0, 0.5, 0.0])
    np.testing.assert_allclose(shares, wanted / wanted.sum(), rtol=1e-12)


def test_bias_forbids_and_forces() -> None:
    assert chosen([], [], logit_bias={0: -np.inf}) == 1
    assert chosen([], [], logit_bias={2: 100.0}) == 2


def test_a_choice_counts_at_once() -> None:
    sampler = Sampler(SamplingParameters(presence_penalty=0.2))
    assert [sampler.choose(LOGITS).id for _ in range(3)] == [0, 1, 0]  # 1.8 and 1.7 from then on


@given(
    prompt=st.lists(st.integers(0, 300), max_size=200),
    answer=st.lists(st.integers(0, 300), max_size=200),
    repetition=st.sampled_from([0.5, 1.0, 1.3]),
    frequency=st.sampled_from([-0.5, 0.0, 0.25]),
    presence=st.sampled_from([-0.5, 0.0, 1.5]),
)
def test_formulas(prompt: list[int], answer: list[int], repetition: float, frequency: float, presence: float) -> None:
    """OpenAI: mu[j] - c[j] · alpha_frequency - float(c[j] > 0) · alpha_presence, behind the repetition penalty."""
    logits = np.random.default_rng(3).standard_normal(301).astype(np.float32)
    wanted, counts = logits.astype(np.float64), Counter(answer)
    for token in {*prompt, *answer}:
        wanted[token] = wanted[token] * repetition if wanted[token] < 0 else wanted[token] / repetition
    for token, count in counts.items():
        wanted[token] = wanted[token] - count * frequency - float(count > 0) * presence
    sampler = after(
        prompt, answer, temperature=1.0, repetition_penalty=repetition, frequency_penalty=frequency,
        presence_penalty=presence,
    )  # fmt: skip
    _, shares = sampler.distribution(logits)
    np.testing.assert_allclose(shares, np.exp(wanted) / np.exp(wanted).sum(), rtol=1e-10)


def test_a_bias_outside_the_vocabulary() -> None:
    with pytest.raises(UsageError, match="token 4, the vocabulary has 4"):
        Sampler(SamplingParameters(logit_bias={4: 1.0})).choose(LOGITS)


def test_the_logits_stay_as_they_are() -> None:
    before = LOGITS.copy()
    for temperature in (0.0, 1.0):
        chosen([1, 2], [0], temperature=temperature, repetition_penalty=1.3, logit_bias={1: 3.0}, seed=1)
        Sampler(SamplingParameters(temperature, seed=1)).choose(LOGITS)
    assert (before == LOGITS).all()
