"""What is asked of the engine, and how it is set up: plain data.

Knows fields and defaults. Must not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lilims.runtime import Model

__all__ = ["EngineSettings", "Request"]


@dataclass(frozen=True)
class EngineSettings:
    """How much the engine takes.

    Attributes:
        parallel: generations that run side by side at most, on all models together; further ones wait.
        queue: requests that wait at most; one more is refused.
        models: models that are loaded at most; the one that was used least lately makes room.
        keep_alive: seconds after its last use that a model stays loaded; 0 unloads it at once, below 0 never.
        cache_bytes: memory of the KV caches of one model, those in use included; None is a quarter of what is
            available when it is loaded. One cache is allowed in any case.
        stall: seconds that a reader may leave an answer unread once `ahead` tokens wait for it.
        ahead: tokens that wait for a reader at most.
        slice_tokens: tokens of a prompt that are run in one turn. Always the same, whatever else runs: a prompt is cut
            at the same places, so its logits are the same.
        load: further arguments of `lilims.runtime.load`: executor, precision, threads, compute_units, isolate, context.
    """

    parallel: int = 16
    queue: int = 128
    models: int = 3
    keep_alive: float = 300.0
    cache_bytes: int | None = None
    stall: float = 60.0
    ahead: int = 32
    slice_tokens: int = 64
    load: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A generation that is wanted: exactly one of `messages` and `prompt`.

    Attributes:
        model: a name of `Engine.cards`; None is the engine's default.
        messages: a conversation, which the model's chat template renders (a default one where it has none).
        prompt: text that is continued, or token ids as they are.
        max_tokens: None goes on until the text ends or the context is full.
        stop: strings that end the text before them.
        ignore_eos: go on behind an end of the text.
        think: ask a reasoning model to reason, or not to; None leaves it to its chat template.
        tools: functions that the chat template shows to the model, as OpenAI's API writes them.
        template: further variables of the chat template.
        json_schema, regex, grammar: what the text must be, at most one of them; as `lilims.runtime.constrained` takes
            them. Reasoning is then not kept apart: all of the text is what it must be.
        adapt: makes of this request the one that is meant, once its model is there; called in a worker thread.
        sampling: fields of `lilims.runtime.SamplingParameters`; where one is left out, or None, the model's
            generation_config.json says it, and otherwise decoding is greedy.
    """

    model: str | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    prompt: str | Sequence[int] | None = None
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    ignore_eos: bool = False
    think: bool | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    template: Mapping[str, Any] = field(default_factory=dict)
    json_schema: Mapping[str, Any] | bool | None = None
    regex: str | None = None
    grammar: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    adapt: Callable[[Request, Model], Request] | None = None
