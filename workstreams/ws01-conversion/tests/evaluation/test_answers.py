"""Answers to questions of tasks, against the logits of whole sequences, and whatever was asked before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lilims.conversion.evaluation.answers import Answers, rolling_windows
from lilims.core.errors import ExecutionError, UsageError
from lilims.runtime import Model, load

from .conftest import Made

CONTEXT = "Once upon a time, there was a little"
CHOICES = (" girl named Lily.", " stone in", " the", " girl")


@pytest.fixture(scope="module")
def model(made: Made) -> Model:
    return load(made("int4"), precision="exact", threads=1)


@pytest.fixture(scope="module")
def short(made: Made) -> Model:
    """The same with a context of 48."""
    return load(made("int4"), precision="exact", threads=1, context=48)


def directly(model: Model, context: Sequence[int], tokens: Sequence[int]) -> tuple[float, bool]:
    """All positions at once, by the definition."""
    logits = model.logits([*context, *tokens][:-1])[len(context) - 1 :].astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    logs = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return float(logs[np.arange(len(tokens)), tokens].sum()), bool((logits.argmax(axis=1) == tokens).all())


def parts(answers: Answers, context: str, choice: str) -> tuple[list[int], list[int]]:
    first = answers.encode(context)
    return first, answers.encode(context + choice)[len(first) :]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_continuation_is_as_likely_as_its_logits_say(model: Model, choice: str) -> None:
    answers = Answers(model)
    context, tokens = parts(answers, CONTEXT, choice)
    found = answers.continuation(context, tokens)
    logprob, greedy = directly(model, context, tokens)
    assert found.logprob == pytest.approx(logprob, abs=1e-4) and found.greedy == greedy


def test_greedy_is_what_the_model_would_write(model: Model) -> None:
    answers = Answers(model)
    context = answers.encode(CONTEXT)
    written = [token.id for token in model.generate(context, max_tokens=6, temperature=0.0)]
    assert answers.continuation(context, written).greedy
    assert not answers.continuation(context, [*written[:-1], (written[-1] + 1) % model.vocab_size]).greedy


def test_an_answer_does_not_depend_on_what_was_asked_before(model: Model) -> None:
    """To the last bit, whether the context was there already, or others in between."""
    asked = [
        parts(Answers(model), context, choice) for context in (CONTEXT, CONTEXT[:15], "Lily") for choice in CHOICES
    ]
    alone = [Answers(model).continuation(*one) for one in asked]
    together = Answers(model)
    assert [together.continuation(*one) for one in asked] == alone
    assert [together.continuation(*one) for one in asked[::-1]] == alone[::-1]
    together.written(together.encode("The dog"), max_tokens=5)
    assert together.continuation(*asked[0]) == alone[0]


def test_a_context_is_run_once_for_all_choices(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.runtime import Session

    seen: list[int] = []
    append = Session.append
    monkeypatch.setattr(Session, "append", lambda self, ids: seen.append(len(ids)) or append(self, ids))
    answers = Answers(model)
    asked = [parts(answers, CONTEXT, choice) for choice in CHOICES]
    for one in asked:
        answers.continuation(*one)
    assert seen == [len(asked[0][0]) - 1]


def test_a_context_that_is_too_long_loses_its_beginning(short: Model) -> None:
    answers = Answers(short)
    ids = answers.encode(CONTEXT * 8)
    context, tokens = ids[:-5], ids[-5:]
    assert len(context) > 60
    found = answers.continuation(context, tokens)
    assert found == Answers(short).continuation(context[-44:], tokens)  # 48 inputs, the last token is none
    assert found.logprob == pytest.approx(directly(short, context[-44:], tokens)[0], abs=1e-4)


@pytest.mark.parametrize("length", [1, 5, 47, 48, 49, 96, 100])
def test_a_text_of_any_length(short: Model, length: int) -> None:
    answers = Answers(short)
    ids = answers.encode(CONTEXT * 8)[:length]
    wanted = sum(directly(short, *window)[0] for window in rolling_windows(ids, answers.begin_id, 48))
    assert answers.text(ids) == pytest.approx(wanted, abs=1e-3)


def test_windows_of_a_text() -> None:
    """The example in lm_eval.api.model.LM.loglikelihood_rolling, and what fits or is empty."""
    assert list(rolling_windows(range(10), 99, 4)) == [([99], [0, 1, 2, 3]), ([3], [4, 5, 6, 7]), ([5, 6, 7], [8, 9])]
    assert list(rolling_windows(range(4), 99, 4)) == [([99], [0, 1, 2, 3])]
    assert list(rolling_windows([], 99, 4)) == []
    for context, tokens in rolling_windows(range(101), 99, 8):
        assert len(context) + len(tokens) <= 9


def test_what_the_model_writes(model: Model) -> None:
    """The text of the new tokens by themselves, which SentencePiece begins without the space that it puts there."""
    answers = Answers(model)
    prompt = answers.encode("Once upon a")
    whole = answers.written(prompt, max_tokens=40)
    assert whole == model.generate(prompt, max_tokens=40, temperature=0.0).text().removeprefix(" ")
    assert answers.written(prompt, until=["", "."], max_tokens=40) == whole.split(".")[0] != whole
    assert answers.written(prompt, until=["Lily", "girl"], max_tokens=40) == whole.split("girl")[0]


def test_a_prompt_that_is_too_long_loses_its_beginning(short: Model) -> None:
    answers = Answers(short)
    prompt = answers.encode(CONTEXT * 8)
    assert answers.written(prompt, max_tokens=8) == answers.written(prompt[-40:], max_tokens=8)


@pytest.mark.parametrize(
    ("context", "tokens", "message"),
    [
        ([], [5], "at least one token before"),
        ([5], [], "needs tokens"),
        ([5], [5] * 49, "does not fit the context of 48"),
    ],
)
def test_questions_that_cannot_be_asked(short: Model, context: list[int], tokens: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Answers(short).continuation(context, tokens)
    with pytest.raises(UsageError, match="48 tokens are to be written, and the context is 48"):
        Answers(short).written([5], max_tokens=48)


def test_logits_that_are_not_finite_are_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.runtime import Session

    rows = np.full((1, model.vocab_size), np.nan, np.float32)
    monkeypatch.setattr(Session, "score", lambda self, ids: iter([rows]))
    with pytest.raises(ExecutionError, match="not finite"):
        Answers(model).continuation([1, 2], [3])


def test_ends_and_beginnings(model: Model, made: Made) -> None:
    answers = Answers(model)
    assert (answers.begin_id, answers.end_id, answers.context) == (1, 2, 512)
    assert answers.encode("Lily")[0] == 1 and answers.encode("Lily", special=False) == answers.encode("Lily")[1:]
    assert Path(model.folder) == made("int4")
