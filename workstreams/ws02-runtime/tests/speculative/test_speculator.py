"""Speculation changes how fast a text comes, never which: tokens, distributions, errors, and what the session holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lilims.core.errors import UsageError
from lilims.core.testing import test_data
from lilims.runtime.constrained import regex
from lilims.runtime.sampling import Choice, Sampler, SamplingParameters
from lilims.runtime.speculative import ModelDraft, PromptLookup, Proposal, Speculator, verify
from lilims.tokenizer import Tokenizer

from .toy import ToySession, as_session, logits_behind, plain


class Fixed:
    """Proposes the same tokens always."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids

    def propose(self, ids: Sequence[int], count: int) -> Proposal:
        return Proposal(self.ids[:count])


def speculated(
    prompt: Sequence[int], count: int, sampler: Sampler, speculator: Speculator, **toy: Any
) -> tuple[list[int], ToySession, int, int]:
    """At least `count` tokens, the session, and how many tokens were proposed and accepted."""
    session, drafted, accepted = ToySession(**toy), 0, 0
    sampler.observe(prompt)
    found = [sampler.choose(session.append(prompt)).id]
    while len(found) < count and not sampler.finished:
        choices, proposed = speculator.step(as_session(session), sampler, found[-1])
        assert 1 <= len(choices) <= proposed + 1
        found += [choice.id for choice in choices]
        drafted, accepted = drafted + proposed, accepted + len(choices) - 1
        assert session.tokens == [*prompt, *found[:-1]]
    return found, session, drafted, accepted


SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy-penalised": {"repetition_penalty": 1.3, "frequency_penalty": 0.2, "presence_penalty": 0.1},
    "sampled": {"temperature": 1.0},
    "sampled-filtered": {"temperature": 1.3, "top_k": 4, "top_p": 0.9, "min_p": 0.05, "frequency_penalty": 0.3},
    "typical": {"temperature": 0.9, "typical_p": 0.8, "logit_bias": {1: 1.5}},
}


@pytest.mark.parametrize("name", SETTINGS)
@settings(max_examples=20, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    seed=st.integers(0, 2**32),
    model=st.integers(0, 20),
    most=st.integers(1, 9),
)
def test_the_same_text(name: str, prompt: list[int], seed: int, model: int, most: int) -> None:
    parameters = SamplingParameters(seed=seed, **SETTINGS[name])
    wanted = plain(prompt, 40, Sampler(parameters), model=model)
    speculator = Speculator(PromptLookup(3, 1), most=most, always=True)
    found, session, _, accepted = speculated(prompt, 40, Sampler(parameters), speculator, model=model)
    assert found[:40] == wanted
    assert session.appended + session.scored == 1 + (len(found) - 1) - accepted


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), most=st.integers(1, 9), temperature=st.sampled_from([0.0, 1.0]))
def test_the_same_text_within_a_grammar(seed: int, most: int, temperature: float) -> None:
    words = Tokenizer.load(test_data("models/stories260K/tokenizer.model"))
    parameters = SamplingParameters(temperature, seed=seed, repetition_penalty=1.1)
    constraint = regex(r"(the cat|the dog){3,6}, says the (cat|dog)", words)
    toy = {"vocab": words.vocab_size, "model": seed}
    wanted = plain([1, 5], 80, Sampler(parameters, constraint.fork()), **toy)
    sampler, speculator = Sampler(parameters, constraint.fork()), Speculator(most=most, always=True)
    found, _, drafted, accepted = speculated([1, 5], 80, sampler, speculator, **toy)
    assert found == wanted
    assert sampler.complete
    assert drafted >= accepted > 0  # what the grammar forces is proposed, and never refused


# -- the distribution ------------------------------------------------------------------------------------------------


def chi_square(found: Counter[int], shares: np.ndarray[Any, Any]) -> float:
    total = found.total()
    return float(sum((found[i] - total * share) ** 2 / (total * share) for i, share in enumerate(shares)))


CHI_SQUARE_4 = 23.5  # exceeded with probability 1e-4 at 4 degrees of freedom


@pytest.mark.parametrize(
    ("draft_model", "draft_temperature", "filters"),
    [(0, 0.7, {}), (1, 0.7, {}), (1, 2.0, {"top_p": 0.95}), (1, 0.0, {"top_p": 0.95})],
    ids=["good", "poor", "poor-flat-top-p", "poor-greedy-top-p"],
)
def test_a_draft_model_leaves_the_distribution_alone(
    draft_model: int, draft_temperature: float, filters: dict[str, Any]
) -> None:
    """Each token, given the two before it, is drawn from the model's own distribution."""
    found: dict[tuple[int, ...], Counter[int]] = {}
    for seed in range(12):
        draft = ModelDraft(as_session(ToySession(model=draft_model)), SamplingParameters(draft_temperature, seed=seed))
        sampler = Sampler(SamplingParameters(1.2, seed=seed, **filters))
        text, _, _, accepted = speculated([0, 1], 250, sampler, Speculator(draft, most=3, always=True))
        assert accepted > 20
        whole = [0, 1, *text]
        for place in range(2, len(whole)):
            found.setdefault(tuple(whole[place - 2 : place]), Counter())[whole[place]] += 1
    compared = 0
    for last, counts in found.items():
        parameters = SamplingParameters(1.2, **filters)
        tokens, odds = Sampler(parameters).distribution(logits_behind(last, 5, 0))
        shares = np.zeros(5)
        shares[tokens] = odds
        assert not set(counts) - set(tokens.tolist())
        if counts.total() * shares[tokens].min() > 5:
            shares = shares[tokens]
            counts = Counter({i: counts[int(token)] for i, token in enumerate(tokens)})
            assert chi_square(counts, shares) < CHI_SQUARE_4
            compared += 1
    assert compared >= 3


def test_the_same_seed_for_text_and_draft_gives_them_other_numbers() -> None:
    parameters = SamplingParameters(1.0, seed=3)
    draft = ModelDraft(as_session(ToySession(vocab=50)), parameters, confidence=0, most=20)
    drafted = draft.propose([0, 1], 20).ids
    assert list(drafted) != plain([0, 1], 20, Sampler(parameters), vocab=50)


def test_a_greedy_draft_model_leaves_a_seeds_text_alone() -> None:
    parameters = SamplingParameters(1.0, seed=3)
    draft = ModelDraft(as_session(ToySession()))
    found, _, _, accepted = speculated([0, 1], 200, Sampler(parameters), Speculator(draft, most=3, always=True))
    assert found[:200] == plain([0, 1], 200, Sampler(parameters))
    assert accepted > 30


def test_a_draft_model_of_the_same_weights_is_always_right() -> None:
    draft = ModelDraft(as_session(ToySession()), confidence=0)
    speculator = Speculator(draft, most=3, always=True)
    _, session, drafted, accepted = speculated([0, 1], 101, Sampler(SamplingParameters()), speculator)
    assert drafted == accepted == 75
    assert (session.appended, session.scored) == (1, 25)


def test_logprobs_are_told_for_every_token() -> None:
    parameters = SamplingParameters(1.0, seed=1, logprobs=2)
    session, sampler = ToySession(), Sampler(parameters)
    session.append([0, 1])
    choices = verify(as_session(session), sampler, Proposal([3, 3]), 2)
    other, again = ToySession(), Sampler(parameters)
    other.append([0, 1])
    assert choices[0] == again.choose(other.append([2]))
    assert all(choice.logprob is not None and len(choice.top) == 2 for choice in choices)


# -- limits and failures ---------------------------------------------------------------------------------------------


def test_a_context_is_filled_and_not_overrun() -> None:
    session, sampler = ToySession(capacity=20), Sampler(SamplingParameters())
    found = [sampler.choose(session.append([0, 1])).id]
    speculator = Speculator(Fixed(1, 2, 3, 4, 1, 2, 3, 4), most=8, always=True)
    while session.room:
        choices, _ = speculator.step(as_session(session), sampler, found[-1])
        found += [choice.id for choice in choices]
    assert len(session.tokens) == 20
    assert found == plain([0, 1], len(found), Sampler(SamplingParameters()))


@pytest.mark.parametrize("fail_at", [2, 3, 6])
def test_a_failure_leaves_no_token_that_was_not_chosen(fail_at: int) -> None:
    session = ToySession()
    session.append([0, 1])
    session.fail_at = fail_at
    with pytest.raises(RuntimeError, match="executor failed"):
        verify(as_session(session), Sampler(SamplingParameters()), Proposal([0, 1, 2, 3, 4, 0]), 2)
    assert session.tokens == [0, 1]


def test_a_sampler_that_fails_leaves_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    session, sampler = ToySession(), Sampler(SamplingParameters())
    session.append([0, 1])
    right = plain([0, 1, 2], 3, Sampler(SamplingParameters()))
    choose, calls = sampler.choose, []

    def failing(logits: Any) -> Choice:
        calls.append(logits)
        if len(calls) == 3:
            raise UsageError("no more")
        return choose(logits)

    monkeypatch.setattr(sampler, "choose", failing)
    with pytest.raises(UsageError):
        verify(as_session(session), sampler, Proposal(right), 2)
    assert session.tokens == [0, 1, 2, right[0]]


@pytest.mark.parametrize("make", [lambda: Speculator(most=0), lambda: PromptLookup(2, 3), lambda: PromptLookup(2, 0)])
def test_arguments(make: Any) -> None:
    with pytest.raises(UsageError):
        make()
