"""The `openai` package is the client: what it reads, it reads as from OpenAI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from lilims.ui import Access

from ..helpers import Live, live, stories

HELLO: Any = [{"role": "user", "content": "Tell me of a fox."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"enum": ["Bonn", "Rome"]},
                "unit": {"$ref": "#/$defs/unit"},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "unit", "days"],
            "additionalProperties": False,
            "$defs": {"unit": {"enum": ["C", "F"]}},
        },
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time"}}


class Animal(BaseModel):
    kind: Literal["fox", "owl"]
    legs: Literal[2, 4]
    tame: bool


@pytest.fixture
def client(server: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_models(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("stories", "model", "lilims")
    assert client.models.retrieve("stories").id == client.models.retrieve("stories-int4").id == "stories"


def test_a_completion_is_what_the_runtime_gives(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="stories", prompt="Once upon a time", max_tokens=20, temperature=0)
    expected = stories().generate("Once upon a time", max_tokens=20, temperature=0)
    assert answer.choices[0].text == expected.text()
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage and answer.usage.completion_tokens == 20
    assert answer.usage.prompt_tokens == expected.statistics.prompt_tokens


def test_a_chat_is_what_the_runtime_gives(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="stories", messages=HELLO, max_tokens=20, temperature=0.7, seed=5)
    expected = stories().generate(HELLO, max_tokens=20, temperature=0.7, seed=5).text()
    assert answer.choices[0].message.content == expected
    assert answer.choices[0].message.role == "assistant" and answer.object == "chat.completion"


def test_streams_add_up_to_the_whole(client: openai.OpenAI) -> None:
    asked: Any = {"model": "stories", "messages": HELLO, "max_tokens": 15, "seed": 3, "temperature": 1.0}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].choices[0].delta.content == ""
    assert [chunk.choices[0].finish_reason for chunk in chunks[-3:-1]] == [None, "length"]
    assert chunks[-1].choices == [] and chunks[-1].usage and chunks[-1].usage.completion_tokens == 15
    assert all(chunk.usage is None for chunk in chunks[:-1]) and len({chunk.id for chunk in chunks}) == 1


def test_completions_stream(client: openai.OpenAI) -> None:
    asked: Any = {"model": "stories", "prompt": ["Once", "The dog"], "max_tokens": 6, "temperature": 0, "echo": True}
    whole = [choice.text for choice in client.completions.create(**asked).choices]
    texts = ["", ""]
    for chunk in client.completions.create(**asked, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == whole and whole[0].startswith("Once") and whole[1].startswith("The dog")


def test_prompts_of_token_ids(client: openai.OpenAI) -> None:
    ids = [stories().tokenizer.encode(text) for text in ("Once", "The dog")]
    asked: Any = {"model": "stories", "max_tokens": 6, "temperature": 0}
    found = [choice.text for choice in client.completions.create(**asked, prompt=ids).choices]
    assert found == [client.completions.create(**asked, prompt=one).choices[0].text for one in ids]
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**asked, prompt=[[1, 1 << 40]])
    assert "--help" not in str(refused.value)


def test_the_asynchronous_client(server: Live) -> None:
    async def main() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            asked = [client.chat.completions.create(
                model="stories", messages=HELLO, max_tokens=10, temperature=1.0, seed=seed,
            ) for seed in (1, 2, 1)]  # fmt: skip
            answers = await asyncio.gather(*asked)
            stream = await client.chat.completions.create(
                model="stories", messages=HELLO, max_tokens=10, temperature=1.0, seed=2, stream=True
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            return [*(answer.choices[0].message.content for answer in answers), text]

    one, two, three, four = asyncio.run(main())
    assert one == three != two == four


def test_choices_have_seeds_of_their_own(client: openai.OpenAI) -> None:
    asked: Any = {"model": "stories", "messages": HELLO, "max_tokens": 12, "temperature": 1.0}
    answer = client.chat.completions.create(**asked, n=3, seed=10)
    texts = [choice.message.content for choice in answer.choices]
    single = [client.chat.completions.create(**asked, seed=10 + i).choices[0].message.content for i in range(3)]
    assert texts == single and len(set(texts)) == 3
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, n=3, seed=10, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


def test_stop_and_logit_bias(client: openai.OpenAI) -> None:
    asked: Any = {"model": "stories", "prompt": "Once upon a time", "max_tokens": 60, "temperature": 0}
    plain = client.completions.create(**asked).choices[0]
    stopped = client.completions.create(**asked, stop=["."]).choices[0]
    assert (stopped.text, stopped.finish_reason) == (plain.text.partition(".")[0], "stop")
    first = stories().tokenizer.encode(plain.text[:2], add_special_tokens=False)[0]
    assert client.completions.create(**asked, logit_bias={str(first): -100}).choices[0].text != plain.text


def test_logprobs(client: openai.OpenAI) -> None:
    asked: Any = {"model": "stories", "messages": HELLO, "max_tokens": 6, "temperature": 0}
    answer = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3).choices[0]
    assert answer.logprobs and answer.logprobs.content
    tokens = answer.logprobs.content
    assert b"".join(bytes(one.bytes or []) for one in tokens).decode() == answer.message.content
    assert all(len(one.top_logprobs) == 3 and one.logprob == one.top_logprobs[0].logprob <= 0 for one in tokens)
    streamed = []
    for chunk in client.chat.completions.create(**asked, logprobs=True, top_logprobs=3, stream=True):
        streamed += (chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or []
    assert streamed == tokens
    older = client.completions.create(model="stories", prompt="Once", max_tokens=4, temperature=0, logprobs=2).choices[
        0
    ]
    assert older.logprobs and older.logprobs.tokens and "".join(older.logprobs.tokens) == older.text
    assert older.logprobs.text_offset == [sum(map(len, older.logprobs.tokens[:i])) for i in range(4)]


@pytest.mark.parametrize("seed", range(3))
def test_structured_output(client: openai.OpenAI, seed: int) -> None:
    answer = client.chat.completions.parse(
        model="stories", messages=HELLO, response_format=Animal, seed=seed, temperature=1.5
    )
    assert isinstance(answer.choices[0].message.parsed, Animal) and answer.choices[0].finish_reason == "stop"


def test_any_object(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="stories", messages=HELLO, response_format={"type": "json_object"}, seed=4, temperature=0.5
    )
    choice = answer.choices[0]
    if choice.finish_reason == "length":  # cut off, as OpenAI's may be
        assert (choice.message.content or "").startswith("{")
    else:
        assert isinstance(json.loads(choice.message.content or ""), dict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_forced_calls_are_valid(client: openai.OpenAI, choice: Any) -> None:
    asked: Any = {"model": "stories", "messages": HELLO, "tools": [WEATHER, TIME], "tool_choice": choice}
    for seed in range(3):
        answer = client.chat.completions.create(**asked, seed=seed, temperature=1.0).choices[0]
        assert answer.message.content is None and answer.message.tool_calls
        (call,) = answer.message.tool_calls
        assert call.type == "function" and call.id.startswith("call_")
        arguments = json.loads(call.function.arguments)
        if call.function.name == "get_time":
            assert choice == "required" and arguments == {}
        else:
            assert arguments["city"] in ("Bonn", "Rome") and arguments["unit"] in ("C", "F")
            assert 1 <= arguments["days"] <= 9
        assert answer.finish_reason == ("tool_calls" if choice == "required" else "stop")
        name, streamed, ids = "", "", set()
        for chunk in client.chat.completions.create(**asked, seed=seed, temperature=1.0, stream=True):
            for delta in chunk.choices[0].delta.tool_calls or []:
                assert delta.index == 0 and delta.function
                name += delta.function.name or ""
                streamed += delta.function.arguments or ""
                ids |= {delta.id} if delta.id else set()
        assert (name, streamed, len(ids)) == (call.function.name, call.function.arguments, 1)


def test_json_or_a_call(client: openai.OpenAI) -> None:
    """With tools that may be called and a schema, the answer is one of both."""
    seen = set()
    for seed in range(8):
        answer = client.chat.completions.parse(
            model="stories", messages=HELLO, tools=[{**TIME, "function": {**TIME["function"], "strict": True}}],
            response_format=Animal, seed=seed, temperature=2.0,
        ).choices[0]  # fmt: skip
        seen.add(answer.finish_reason)
        if answer.finish_reason == "tool_calls":
            assert answer.message.tool_calls and answer.message.tool_calls[0].function.name == "get_time"
        else:
            assert isinstance(answer.message.parsed, Animal)
    assert seen <= {"tool_calls", "stop"}


def test_a_call_and_its_result_go_back(client: openai.OpenAI) -> None:
    messages: Any = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "noon"}]},
    ]  # fmt: skip
    for choice in ("auto", "none"):
        answer = client.chat.completions.create(
            model="stories", messages=messages, tools=[TIME], tool_choice=choice, max_tokens=5
        )  # type: ignore[call-overload]
        assert answer.choices[0].finish_reason in ("stop", "length")


def test_one_call_where_one_is_asked_for(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.ui.api import chat

    made: list[bool] = []

    class Seen(chat.Choice):
        def __init__(self, *given: Any, **options: Any) -> None:
            made.append(options["single"])
            super().__init__(*given, **options)

    monkeypatch.setattr(chat, "Choice", Seen)
    asked: Any = {"model": "stories", "messages": HELLO, "tools": [TIME], "tool_choice": "required"}
    for parallel in ({}, {"parallel_tool_calls": True}, {"parallel_tool_calls": False}):
        answer = client.chat.completions.create(**asked, **parallel).choices[0]
        assert answer.message.tool_calls and answer.finish_reason == "tool_calls"
    assert made == [False, False, True]


@pytest.mark.parametrize("effort", ["none", "low", "xhigh", "max"])
def test_every_effort_of_the_client_is_taken(client: openai.OpenAI, effort: Any) -> None:
    answer = client.chat.completions.create(model="stories", messages=HELLO, max_tokens=1, reasoning_effort=effort)
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("asked", "kind", "code", "param"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "model_not_found", "model"),
        ({"model": "../../etc/passwd"}, openai.NotFoundError, "model_not_found", "model"),
        ({"temperature": 3}, openai.BadRequestError, "invalid_value", "temperature"),
        ({"max_tokens": 0}, openai.BadRequestError, "invalid_value", "max_tokens"),
        ({"messages": []}, openai.BadRequestError, "invalid_value", "messages"),
        ({"messages": [{"role": "user", "content": "x " * 3000}]}, openai.BadRequestError, "context_length_exceeded",
         "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         openai.BadRequestError, "invalid_value", "messages.0.content.0.type"),
        ({"messages": [{"role": "user", "content": 5}]}, openai.BadRequestError, "invalid_value", "messages.0.content"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}},
         openai.BadRequestError, "invalid_constraint", "response_format"),
        ({"tool_choice": "required"}, openai.BadRequestError, "invalid_value", "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}],
          "tool_choice": "required"}, openai.BadRequestError, "invalid_constraint", "tools"),
        ({"top_logprobs": 3}, openai.BadRequestError, "invalid_value", "top_logprobs"),
        ({"logit_bias": {"99999999": 1}}, openai.BadRequestError, "invalid_value", "logit_bias"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)  # fmt: skip
def test_errors(client: openai.OpenAI, asked: dict[str, Any], kind: Any, code: str, param: str) -> None:
    with pytest.raises(kind) as raised:
        client.chat.completions.create(**{"model": "stories", "messages": HELLO, **asked})
    error = raised.value
    assert (error.code, error.type, error.param) == (code, "invalid_request_error", param)
    assert error.body["message"]


@pytest.mark.parametrize(
    ("asked", "code", "param", "words"),
    [
        ({"prompt": [1, -2]}, "invalid_value", "prompt.1", "greater than or equal to 0"),
        ({"prompt": []}, "invalid_value", "prompt", "at least 1 item"),
        ({"prompt": [1, 1 << 40]}, "invalid_value", "prompt", "outside the vocabulary"),
        ({"prompt": [[1], [99999]]}, "invalid_value", "prompt", "outside the vocabulary"),
        ({"prompt": "x " * 3000}, "context_length_exceeded", "prompt", "tokens"),
        ({"prompt": "x", "echo": True, "logprobs": 1}, "invalid_value", "echo", "not supported"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_errors_of_completions(client: openai.OpenAI, asked: Any, code: str, param: str, words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as raised:
        client.completions.create(model="stories", **asked)
    assert (raised.value.code, raised.value.param) == (code, param)


def test_keys(shared_home: Any) -> None:
    with live(access=Access(api_key="sesame")) as server:
        for key, right in (("sesame", True), ("Sesame", False), ("", False)):
            with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key or "-", max_retries=0) as client:
                if right:
                    assert client.models.list().data
                else:
                    with pytest.raises(openai.AuthenticationError) as raised:
                        client.models.list()
                    assert raised.value.code == "invalid_api_key"
