"""Tokens that were recorded become deltas, a message, and a reason to end."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest

from lilims.runtime import Statistics, Token
from lilims.ui.api.choice import Choice, usage_of
from lilims.ui.api.tools import FoundCalls
from lilims.ui.engine import Job

from ..helpers import live
from .test_tools import HERMES


def choice(**options: Any) -> Choice:
    words = SimpleNamespace(stop_ids={0}, bytes_of=lambda token: bytes([token]))
    statistics = Statistics(prompt_tokens=7, reused_tokens=3, generated_tokens=5)
    return Choice(0, cast(Job, SimpleNamespace(vocabulary=words, statistics=statistics)), **options)


def said(*texts: str, reason: Any = "stop") -> list[Token]:
    return [*(Token(65 + i, text, logprob=-0.5) for i, text in enumerate(texts)), Token(0, finish_reason=reason)]


def test_calls_that_a_model_writes_come_as_deltas() -> None:
    one = choice(parser=FoundCalls("hermes"))
    deltas = [delta for token in said(*HERMES, reason="stop") for delta, _ in one.push(token)]
    text = "".join(delta.content or "" for delta in deltas)
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert text == "I look.\n" and one.finish_reason == "tool_calls"
    assert calls[0].id and calls[0].function.name == "get_weather" and calls[0].function.arguments == ""
    assert json.loads("".join(call.function.arguments or "" for call in calls)) == {"city": "Bonn"}
    assert one.message.tool_calls and one.message.tool_calls[0].id == calls[0].id
    assert one.message.content == "I look.\n"


def test_an_answer_of_one_call_ends_with_it() -> None:
    """`parallel_tool_calls: false`: what the model writes behind its first call is neither told nor waited for."""
    cancelled: list[bool] = []
    two = f"{HERMES}\n{HERMES}"
    for single, calls in ((False, 2), (True, 1)):
        one = choice(parser=FoundCalls("hermes"), single=single)
        one.job.cancel = lambda: cancelled.append(True)  # type: ignore[method-assign]
        deltas = [delta for token in said(*two, reason="stop") for delta, _ in one.push(token)]
        assert len(one.message.tool_calls or []) == calls and one.finish_reason == "tool_calls"
        assert {call.index for delta in deltas for call in delta.tool_calls or []} == set(range(calls))
        assert ("".join(delta.content or "" for delta in deltas).count("I look.")) == calls
        assert bool(cancelled) is single


def test_text_that_looks_like_a_call_is_text() -> None:
    one = choice(parser=FoundCalls("hermes"))
    for token in said("<tool_", "call>{no", "</tool_call>"):
        one.push(token)
    assert one.message.content == "<tool_call>{no</tool_call>" and one.finish_reason == "stop"
    assert one.message.tool_calls is None


def test_reasoning_stands_apart() -> None:
    one = choice()
    tokens = [Token(65, reasoning="Hm"), Token(66, reasoning="."), Token(67, "Yes"), Token(0, finish_reason="stop")]
    deltas = [delta for token in tokens for delta, _ in one.push(token)]
    assert [delta.reasoning_content or delta.content for delta in deltas] == ["Hm", ".", "Yes"]
    assert (one.message.reasoning_content, one.message.content) == ("Hm.", "Yes")
    figures = usage_of([one])
    assert figures.completion_tokens_details.reasoning_tokens == 2
    assert (figures.prompt_tokens, figures.completion_tokens, figures.total_tokens) == (7, 5, 12)
    assert figures.prompt_tokens_details.cached_tokens == 3


@pytest.mark.parametrize(("reason", "told"), [("stop", "stop"), ("length", "length"), ("interrupt", "stop")])
def test_reasons(reason: str, told: str) -> None:
    one = choice()
    for token in said("a", reason=reason):
        one.push(token)
    assert one.finish_reason == told


def test_logprobs_of_tokens_without_text_come_with_the_next() -> None:
    one = choice(logprobs=True)
    told = [logprobs for token in said("", "é", "") for _, logprobs in one.push(token)]
    assert [[each.token for each in one.content or []] for one in told if one] == [["A", "B"]]
    rest = one.last_logprobs()
    assert rest is not None and [each.token for each in rest.content or []] == ["C"], "an end is no token of the text"
    assert one.logprobs is not None and [each.token for each in one.logprobs.content or []] == ["A", "B", "C"]


def test_a_model_that_begins_by_reasoning(shared_home: Any, tmp_path: Any) -> None:
    """Its template opens the thoughts: they come apart, and not at all where the answer has to be JSON."""
    folder = tmp_path / "thinker"
    shutil.copytree(shared_home / "models" / "stories-int4", folder)
    template = "{% for m in messages %}{{ m.content }} {% endfor %}<think>\n{# </think> #}"
    (folder / "chat_template.jinja").write_text(template)
    ask: dict[str, Any] = {"messages": [{"role": "user", "content": "Once"}], "max_tokens": 12, "seed": 1}
    with live(str(folder)) as server, httpx2.Client(base_url=server.url, trust_env=False) as client:

        def message(**more: Any) -> Any:
            answer = client.post("/v1/chat/completions", json={**ask, **more}, timeout=60).json()
            return answer["choices"][0]["message"], answer["usage"]

        thought, usage = message()
        assert thought["content"] == "" and thought["reasoning_content"]
        assert usage["completion_tokens_details"]["reasoning_tokens"] > 0
        schema = {"name": "x", "schema": {"enum": ["yes", "no"]}}
        plain, _ = message(response_format={"type": "json_schema", "json_schema": schema})
        assert json.loads(plain["content"]) in ("yes", "no") and "reasoning_content" not in plain
