"""A conversation: what is kept of it, and how few tokens a turn costs. The built-in model answers, in both forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import ContextOverflowError, ExecutionError, UsageError
from lilims.runtime import Model, load
from lilims.ui.terminal.conversation import Conversation

from .helpers import chatty, contents

Make = Callable[..., Conversation]


@pytest.fixture(scope="module")
def models(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Model]:
    """Whether it chats → the model."""
    folder = tmp_path_factory.mktemp("models")
    return {
        chats: load(path, executor="portable", threads=1, context=320)
        for chats, path in ((False, shared_home / "models" / "stories-int4"), (True, chatty(shared_home, folder)))
    }


@pytest.fixture(params=[False, True], ids=["text", "chat"])
def make(request: pytest.FixtureRequest, models: dict[bool, Model]) -> Make:
    """Makes conversations of one form. They are sampled hot, so that models spell words in other tokens."""

    def made(policy: str = "error", system: str | None = None, **options: Any) -> Conversation:
        asked = {"temperature": 1.5, "seed": 5, "max_tokens": 12, "ignore_eos": True, **options}
        return Conversation(
            models[request.param], lambda: dict(asked), chats=request.param, policy=policy, system=system
        )

    return made


def run(tokens: Any) -> str:
    return "".join(token.text for token in tokens)


def ran(conversation: Conversation) -> int:
    """Prompt tokens that the last answer had to run."""
    found = conversation.statistics
    assert found is not None
    return found.prompt_tokens - found.reused_tokens


def own(conversation: Conversation, text: str) -> int:
    """The tokens of a message, with the form that the template puts around it."""
    prompt: Any = [{"role": "user", "content": text}] if conversation.chats else text
    return len(conversation.model.encode(prompt).ids)


def alone(conversation: Conversation) -> int:
    """The tokens of the whole conversation's prompt, encoded by itself."""
    messages: Any = conversation.messages[:-1]
    prompt = messages if conversation.chats else "".join(contents(messages))
    return len(conversation.model.encode(prompt).ids)


def test_answers_are_part_of_it(make: Make) -> None:
    talk = make()
    first = run(talk.say("Once upon a time"))
    second = run(talk.say("One day"))
    assert [one["role"] for one in talk.messages] == ["user", "assistant"] * 2
    asked = ["Once upon a time", "One day"] if talk.chats else ["Once upon a time", " One day"]
    assert contents(talk.messages) == [asked[0], first, asked[1], second]
    assert first and second


def test_a_turn_runs_its_own_tokens_alone(make: Make) -> None:
    """Ten turns: what is new, the last token of the answer, which nothing has run yet, and the form around them."""
    talk = make()
    run(talk.say("Once upon a time"))
    for word in ("Then", "One day", "And so", "But", "After that", "Then he", "So", "They", "At last", "Now"):
        run(talk.say(word))
        assert ran(talk) <= 2 + own(talk, word), f"{word}: {ran(talk)} of {alone(talk)} tokens"
    assert alone(talk) > 100


def test_what_the_cache_spares_changes_no_token(make: Make) -> None:
    """The answer behind a reused cache is that of the same ids on an empty one."""
    talk = make(temperature=0.0, seed=None)
    run(talk.say("Once upon a time"))
    answer = run(talk.say("One day"))
    held = talk.session.tokens[: len(talk.session.tokens)]
    found = talk.statistics
    assert found is not None and found.reused_tokens
    fresh = talk.model.generate(held[: found.prompt_tokens], temperature=0.0, max_tokens=12, ignore_eos=True)
    assert fresh.text().strip() == answer.strip()


def test_another_answer_costs_one_token(make: Make) -> None:
    talk = make()
    first = run(talk.say("Once upon a time"))
    again = run(talk.regenerate())
    assert ran(talk) == 1
    assert again != first, "with the next seed"
    assert contents(talk.messages) == ["Once upon a time", again]
    assert run(talk.regenerate()) != again


def test_an_edited_question_goes_back_to_where_they_part(make: Make) -> None:
    talk = make()
    run(talk.say("Once upon a time"))
    run(talk.say("One day the fox"))
    before = alone(talk)
    answer = run(talk.edit("One day the hen"))
    assert contents(talk.messages)[2].strip() == "One day the hen"
    assert contents(talk.messages)[3] == answer
    assert len(talk.messages) == 4
    assert ran(talk) <= 6 + (6 if talk.chats else 0) < before


def test_reset_keeps_the_system_message(make: Make) -> None:
    talk = make(system="Be kind.")
    if talk.chats:
        run(talk.say("Hello"))
    talk.reset()
    assert contents(talk.messages) == ["Be kind."]
    assert talk.session.position == 0


def test_without_a_question_there_is_nothing_to_answer_again(make: Make) -> None:
    talk = make()
    for again in (talk.regenerate, lambda: talk.edit("x")):
        with pytest.raises(UsageError, match="there is no question"):
            again()
    assert talk.messages == []


def test_an_interrupted_answer_stays(make: Make) -> None:
    talk = make(max_tokens=40)
    said = ""
    for number, token in enumerate(talk.say("Once upon a time")):
        said += token.text
        if number == 5 and talk.generation is not None:
            talk.generation.interrupt()
    assert talk.statistics is not None and talk.statistics.finish_reason == "interrupt"
    assert contents(talk.messages) == ["Once upon a time", said]
    run(talk.say("Then"))
    assert ran(talk) <= 2 + own(talk, "Then")


def test_an_answer_that_never_began_leaves_no_trace(make: Make) -> None:
    talk = make()
    run(talk.say("Once upon a time"))
    before = contents(talk.messages)
    tokens = talk.say("One day")
    real = talk.model.generate

    def interrupted(*arguments: Any, **options: Any) -> Any:
        generation = real(*arguments, **options)
        generation.interrupt()
        return generation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(talk.model, "generate", interrupted)
        assert run(tokens) == ""
    assert contents(talk.messages) == before


def test_a_full_context_is_said_and_forgets_nothing(make: Make) -> None:
    talk = make(max_tokens=None)
    run(talk.say("Once upon a time"))
    assert talk.full
    before = contents(talk.messages)
    with pytest.raises(ContextOverflowError) as raised:
        run(talk.say("One day"))
    assert "/reset" in str(raised.value.hint) and "--context-policy" in str(raised.value.hint)
    assert contents(talk.messages) == before
    talk.reset()
    assert next(iter(talk.say("Once"))).text is not None


@pytest.mark.parametrize("policy", ["rolling", "sinks", "shift"])
def test_with_a_policy_it_goes_on_in_a_full_context(policy: str, make: Make) -> None:
    talk = make(policy, max_tokens=120)
    for word in ("Once upon a time", "Then", "One day"):
        run(talk.say(word))
    assert not talk.full
    assert len(talk.session.tokens) > talk.session.capacity


def test_an_error_in_an_answer_keeps_what_came(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = make(max_tokens=30)
    tokens = talk.say("Once upon a time")
    said = next(tokens).text + next(tokens).text

    def fail(*_: object, **__: object) -> None:
        raise ExecutionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(talk.session, "append", fail)
        with pytest.raises(ExecutionError):
            next(tokens)
    assert contents(talk.messages) == ["Once upon a time", said]
    assert run(talk.regenerate())


def test_a_text_goes_on_with_one_space(models: dict[bool, Model]) -> None:
    talk = Conversation(models[False], lambda: {"max_tokens": 3}, chats=False)
    talk.messages = [{"role": "assistant", "content": "a fox."}]
    for text, wanted in {"One": " One", ", and": ", and", " One": " One", "\nOne": "\nOne", "": ""}.items():
        assert talk._question(talk.messages, text)["content"] == wanted
