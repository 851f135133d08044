"""langchain-openai is the client: answers, streams, calls of tools and structured output."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from ..helpers import Live

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langchain_openai import ChatOpenAI


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Bonn", "Rome"]
    warm: bool


@pytest.fixture
def chat(server: Live) -> Any:
    return ChatOpenAI(
        base_url=f"{server.url}/v1", api_key="none", model="stories", temperature=1.0, seed=7, max_retries=0
    )  # type: ignore[arg-type]


def test_answers_and_streams(chat: Any) -> None:
    short = chat.bind(max_tokens=12)
    whole = short.invoke("Tell me of a fox.")
    assert whole.content and whole.usage_metadata["output_tokens"] == 12
    assert "".join(chunk.content for chunk in short.stream("Tell me of a fox.")) == whole.content


def test_a_tool_is_called(chat: Any) -> None:
    answer = chat.bind_tools([Weather], tool_choice="Weather").invoke("Is it warm?")
    (call,) = answer.tool_calls
    assert call["name"] == "Weather" and call["args"]["city"] in ("Bonn", "Rome") and call["id"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat: Any, method: str) -> None:
    answer = chat.with_structured_output(Weather, method=method).invoke("Is it warm?")
    assert isinstance(answer, Weather)
