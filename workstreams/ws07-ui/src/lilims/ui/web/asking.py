"""From a branch of a conversation to a request of the engine, and the engine's job as the web chat follows it.

Knows the engine. Must not know conversations, nor HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from .answers import Asked
from .prompts import chat_messages, plain_text

if TYPE_CHECKING:
    from lilims.runtime import Model, Token
    from lilims.ui.engine import Engine, Job, Request

__all__ = ["EngineJob", "Submitter"]


class EngineJob:
    """A job of the engine with its figures in the page's words."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def __aiter__(self) -> AsyncIterator[Token]:
        async for token in self._job:
            yield token

    def cancel(self) -> None:
        """Ends it within a token."""
        self._job.cancel()

    def figures(self) -> dict[str, Any]:
        """Tokens of prompt and answer, seconds to the first token, tokens per second, and why it ended."""
        found = self._job.statistics
        return {
            "prompt_tokens": found.prompt_tokens,
            "reused_tokens": found.reused_tokens,
            "generated_tokens": found.generated_tokens,
            "time_to_first_token": found.time_to_first_token,
            "tokens_per_second": found.decode_tokens_per_second,
            "finish_reason": found.finish_reason,
            "seed": found.seed,
        }


class Submitter:
    """Begins answers on an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, asked: Asked) -> EngineJob:
        """Raises what `Engine.submit` does."""
        from lilims.ui.engine import Request

        sampling = dict(asked.settings)
        request = Request(
            model=asked.model,
            max_tokens=sampling.pop("max_tokens", None),
            think=sampling.pop("think", None),
            sampling=sampling,
            adapt=partial(_adapted, asked),
        )
        return EngineJob(await self._engine.submit(request))


def _adapted(asked: Asked, request: Request, model: Model) -> Request:
    """What a model gets: a text that it continues, messages, or the ids of a chat whose last answer has begun."""
    if not model.chats:
        return replace(request, prompt=plain_text(asked.path, asked.system) + asked.so_far)
    messages = chat_messages(asked.path, asked.system)
    if not asked.so_far:
        return replace(request, messages=messages)
    options: dict[str, Any] = {} if request.think is None else {"enable_thinking": request.think}
    begun = model.tokenizer.encode_chat(messages, **options)
    return replace(request, prompt=begun + model.tokenizer.encode(asked.so_far, add_special_tokens=False))
