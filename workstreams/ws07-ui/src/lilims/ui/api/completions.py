"""POST /v1/completions: a text that is continued.

Knows the older of OpenAI's two forms. Must not know chats.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from lilims.core.errors import ContextOverflowError
from lilims.runtime import Token

from ..engine import Engine, Job, Request
from . import responses as r
from .bodies import read_body
from .chat import fingerprint, sampling_of, submit_each, told
from .choice import usage
from .errors import naming
from .requests import CompletionRequest
from .stream import EventStream, merged

__all__ = ["completions"]

_DEFAULT_TOKENS = 16  # OpenAI's


async def completions(http: HttpRequest) -> Response | EventStream:
    """Continues a text."""
    asked = await read_body(http, CompletionRequest)
    engine: Engine = http.app.state.engine
    requests = [
        Request(
            model=asked.model,
            prompt=prompt,
            max_tokens=_DEFAULT_TOKENS if asked.max_tokens is None else asked.max_tokens,
            stop=asked.stop or (),
            sampling={**sampling_of(asked), "logprobs": asked.logprobs},
        )
        for prompt in asked.prompts
    ]
    with naming(ContextOverflowError, "prompt"):
        jobs = await submit_each(engine, requests, asked)
    echoed = [_text(prompt, jobs[i * asked.choices]) if asked.echo else "" for i, prompt in enumerate(asked.prompts)]
    choices = [_Choice(i, job, asked, echoed[i // asked.choices]) for i, job in enumerate(jobs)]
    answer = _Answer(choices, asked)
    return await told(http, answer, jobs, stream=bool(asked.stream))


def _text(prompt: str | list[int], job: Job) -> str:
    return prompt if isinstance(prompt, str) else job.vocabulary.text(prompt)


class _Choice:
    """One text: what came so far, and what was told of it."""

    def __init__(self, index: int, job: Job, asked: CompletionRequest, before: str) -> None:
        self.index = index
        self.job = job
        self.before = before
        self.reason: str | None = None
        self._top = asked.logprobs
        self._offset = len(before)
        self._tokens: list[tuple[str, float, dict[str, float], int]] = []

    def push(self, token: Token) -> str:
        """The text of a token; its logprobs wait for the next `logprobs`."""
        words = self.job.vocabulary
        text = token.reasoning + token.text
        if self._top is not None and token.logprob is not None and token.id not in words.stop_ids:
            top = {words.text_of(other): value for other, value in token.top_logprobs}
            self._tokens.append((words.text_of(token.id), token.logprob, top, self._offset))
        self._offset += len(text)
        if token.finish_reason:
            self.reason = "length" if token.finish_reason == "length" else "stop"
        return text

    def logprobs(self) -> r.CompletionLogprobs | None:
        """Those of the tokens since the last time."""
        if self._top is None:
            return None
        taken, self._tokens = self._tokens, []
        return r.CompletionLogprobs(
            tokens=[text for text, *_ in taken],
            token_logprobs=[value for _, value, *_ in taken],
            top_logprobs=[top for _, _, top, _ in taken] if self._top else None,
            text_offset=[offset for *_, offset in taken],
        )


class _Answer:
    """The choices of one request, told in chunks or as a whole."""

    def __init__(self, choices: Sequence[_Choice], asked: CompletionRequest) -> None:
        self._choices = choices
        self._each = asked.choices
        self._include_usage = asked.include_usage
        self._head: dict[str, Any] = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": choices[0].job.model,
            "system_fingerprint": fingerprint(),
        }

    async def whole(self) -> r.CompletionAnswer:
        texts = [choice.before for choice in self._choices]
        async for i, token in merged([choice.job for choice in self._choices]):
            texts[i] += self._choices[i].push(token)
        found = [self._told(choice, text) for choice, text in zip(self._choices, texts, strict=True)]
        return r.CompletionAnswer(**self._head, choices=found, usage=self._usage())

    async def chunks(self) -> AsyncIterator[BaseModel]:
        for choice in self._choices:
            if choice.before:
                yield self._chunk(self._told(choice, choice.before))
        async for i, token in merged([choice.job for choice in self._choices]):
            text = self._choices[i].push(token)
            if text or token.finish_reason:
                yield self._chunk(self._told(self._choices[i], text))
        if self._include_usage:
            yield r.CompletionAnswer(**self._head, choices=[], usage=self._usage())

    def _told(self, choice: _Choice, text: str) -> r.CompletionChoice:
        reason: Any = choice.reason
        return r.CompletionChoice(
            text=text, index=choice.index, logprobs=choice.logprobs(), finish_reason=reason
        )  # fmt: skip

    def _chunk(self, choice: r.CompletionChoice) -> r.CompletionAnswer:
        usage: dict[str, Any] = {"usage": None} if self._include_usage else {}
        return r.CompletionAnswer(**self._head, choices=[choice], **usage)

    def _usage(self) -> r.Usage:
        figures = [choice.job.statistics for choice in self._choices]
        first = figures[:: self._each]  # one choice of each prompt
        written = sum(one.generated_tokens for one in figures)
        return usage(sum(one.prompt_tokens for one in first), written, sum(one.reused_tokens for one in first))
