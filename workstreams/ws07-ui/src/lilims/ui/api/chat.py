"""POST /v1/chat/completions.

Knows what each field asks of the engine, and in which order an answer is told. Must not know how tokens come about.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from lilims.runtime.errors import ConstraintError

from ..engine import Engine, Job, Request
from . import responses as r
from .bodies import read_body
from .choice import Choice, Parser, usage_of
from .errors import ApiError, naming
from .messages import template_messages
from .requests import ChatRequest, NamedTool, Sampled, Tool
from .stream import EventStream, merged, while_connected
from .tools import ForcedCall, FoundCalls, call_grammar, describe, family_of, tools_of

if TYPE_CHECKING:
    from lilims.runtime import Model
    from lilims.tokenizer.chat.tool_calls import Family

__all__ = ["Answer", "chat_completions", "fingerprint", "json_response", "sampling_of", "submit_all", "told"]


class _Plan:
    """A chat request on its way to the engine: what can be said only once the model is known is said here."""

    def __init__(self, asked: ChatRequest) -> None:
        self.asked = asked
        self.tools: list[Tool] = tools_of(asked)
        self.family: Family = "hermes"

    def request(self) -> Request:
        asked, effort = self.asked, self.asked.reasoning_effort
        variables = dict(asked.chat_template_kwargs or {})
        if effort is not None:
            variables.setdefault("reasoning_effort", effort)
        return Request(
            model=asked.model,
            messages=template_messages(asked.messages),
            max_tokens=asked.most_tokens,
            stop=asked.stop or (),
            think=False if effort == "none" else None,
            template=variables,
            json_schema=self._schema(),
            sampling={**sampling_of(asked), "logprobs": asked.most_logprobs},
            adapt=self._adapt,
        )

    def parser(self) -> Parser | None:
        """What finds calls in one answer."""
        if not self.tools:
            return None
        return ForcedCall(self.family) if self.asked.forces_call else FoundCalls(self.family)

    def _schema(self) -> dict[str, Any] | None:
        wanted = self.asked.response_format
        if wanted is None or wanted.type == "text":
            return None
        schema = wanted.json_schema.schema_ if wanted.json_schema is not None else None
        return {"type": "object"} if schema is None else schema

    def _adapt(self, request: Request, model: Model) -> Request:
        """Tools in the family's form; and no reasoning where all of the text is what it must be."""
        template = model.tokenizer.chat_template
        source = template.source if template is not None else ""
        forced = self.asked.forces_call or request.json_schema is not None
        if forced and request.think is None and "enable_thinking" in source:
            request = replace(request, think=False)
        if not self.tools:
            return request
        self.family = family_of(source) if request.json_schema is None else "hermes"  # a call is told by its tags
        tools = [tool.model_dump(exclude_none=True) for tool in self.tools]
        if "tools" in source:
            request = replace(request, tools=tools)
        else:
            request = replace(request, messages=describe(list(request.messages or ()), tools))  # type: ignore[arg-type]
        if not forced:
            return request
        return replace(request, json_schema=None, grammar=call_grammar(self.tools, self.family, request.json_schema))


async def chat_completions(http: HttpRequest) -> Response | EventStream:
    """Answers a conversation."""
    asked = await read_body(http, ChatRequest)
    engine: Engine = http.app.state.engine
    plan = _Plan(asked)
    with naming(ConstraintError, "tools" if asked.forces_call else "response_format"):
        jobs = await submit_all(engine, plan.request(), asked)
    named, single = isinstance(asked.tool_choice, NamedTool), asked.parallel_tool_calls is False
    choices = [
        Choice(i, job, parser=plan.parser(), logprobs=bool(asked.logprobs), named=named, single=single)
        for i, job in enumerate(jobs)
    ]
    answer = _Answer(choices, include_usage=asked.include_usage)
    return await told(http, answer, jobs, stream=bool(asked.stream))


class _Answer:
    """The choices of one request, told in chunks or as a whole."""

    def __init__(self, choices: Sequence[Choice], *, include_usage: bool) -> None:
        self._choices = choices
        self._include_usage = include_usage
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": choices[0].job.model,
            "system_fingerprint": fingerprint(),
        }

    async def whole(self) -> r.ChatAnswer:
        async for i, token in merged([choice.job for choice in self._choices]):
            self._choices[i].push(token)
        found = [
            r.ChatChoice(index=i, message=one.message, logprobs=one.logprobs, finish_reason=one.finish_reason or "stop")
            for i, one in enumerate(self._choices)
        ]
        return r.ChatAnswer(**self._head, choices=found, usage=usage_of(self._choices))

    async def chunks(self) -> AsyncIterator[BaseModel]:
        for i in range(len(self._choices)):
            yield self._chunk(i, r.Delta(role="assistant", content="", refusal=None))
        async for i, token in merged([choice.job for choice in self._choices]):
            choice = self._choices[i]
            for delta, logprobs in choice.push(token):
                yield self._chunk(i, delta, logprobs)
            if choice.finish_reason is not None:
                yield self._chunk(i, r.Delta(), choice.last_logprobs(), choice.finish_reason)
        if self._include_usage:
            yield r.ChatChunk(**_with_object(self._head), choices=[], usage=usage_of(self._choices))

    def _chunk(self, index: int, delta: r.Delta, logprobs: r.Logprobs | None = None, reason: Any = None) -> r.ChatChunk:
        choice = r.ChatChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=reason)
        usage: dict[str, Any] = {"usage": None} if self._include_usage else {}
        return r.ChatChunk(**_with_object(self._head), choices=[choice], **usage)


def _with_object(head: dict[str, Any]) -> dict[str, Any]:
    """With a field that has one value alone: chunks are written without fields that nobody set."""
    return {**head, "object": "chat.completion.chunk"}


async def submit_all(engine: Engine, request: Request, asked: Sampled) -> list[Job]:
    """As many jobs as choices are asked for, each with a seed of its own; all of them or none.

    Raises:
        ApiError: more choices than could ever run.
        LilimsError: as `Engine.submit`.
    """
    return await submit_each(engine, [request], asked)


async def submit_each(engine: Engine, requests: Sequence[Request], asked: Sampled) -> list[Job]:
    """The same for several prompts: the choices of the first, then those of the second, …"""
    most = engine.settings.parallel + engine.settings.queue
    if len(requests) * asked.choices > most:
        raise ApiError(400, f"{len(requests) * asked.choices} choices are more than {most}", "invalid_value", param="n")
    jobs: list[Job] = []
    try:
        for request in requests:
            for i in range(asked.choices):
                jobs.append(await engine.submit(_with_seed(request, i)))
    except BaseException:
        for job in jobs:
            job.cancel()
        raise
    return jobs


def _with_seed(request: Request, index: int) -> Request:
    seed = request.sampling.get("seed")
    if index == 0 or seed is None:
        return request
    return replace(request, sampling={**request.sampling, "seed": seed + index})


def sampling_of(asked: Sampled) -> dict[str, Any]:
    """The fields of `SamplingParameters`. `top_p` 0 takes the likeliest token alone, `top_k` -1 is all (vLLM)."""
    bias = asked.logit_bias
    return {
        "temperature": asked.temperature,
        "top_p": None if asked.top_p is None else max(asked.top_p, 1e-6),
        "top_k": None if asked.top_k is None else max(asked.top_k, 0),
        "min_p": asked.min_p,
        "repetition_penalty": asked.repetition_penalty,
        "frequency_penalty": asked.frequency_penalty,
        "presence_penalty": asked.presence_penalty,
        "logit_bias": None if bias is None else {int(token): value for token, value in bias.items()},
        "seed": None if asked.seed is None else asked.seed % (1 << 63),
    }


def fingerprint() -> str:
    """What answers depend on beside the request: the version of lilims."""
    from lilims.core import version

    return f"lilims-{version()}"


class Answer(Protocol):
    """What is told in chunks or as a whole."""

    def chunks(self) -> AsyncIterator[BaseModel]: ...

    async def whole(self) -> BaseModel: ...


async def told(http: HttpRequest, answer: Answer, jobs: Sequence[Job], *, stream: bool) -> Response | EventStream:
    """The response that an answer is; a client that leaves ends its jobs."""

    def close() -> None:
        for job in jobs:
            job.cancel()

    if stream:
        return EventStream(answer.chunks(), close, keep_alive=http.app.state.keep_alive)
    whole = await while_connected(http.receive, answer.whole(), close)
    return Response(status_code=499) if whole is None else json_response(whole)


def json_response(value: BaseModel, status: int = 200) -> Response:
    """A model as JSON; `reasoning_content` and `tool_calls` are left out where there are none."""
    return Response(value.model_dump_json(exclude=_unset(value)), status, media_type="application/json")


_EXCLUDABLE = ("reasoning_content", "tool_calls")


def _unset(value: BaseModel) -> Any:
    if not isinstance(value, r.ChatAnswer):
        return None
    return {
        "choices": {
            i: {"message": {name for name in _EXCLUDABLE if getattr(choice.message, name) is None}}
            for i, choice in enumerate(value.choices)
        }
    }


Endpoint = Callable[[HttpRequest], Any]
