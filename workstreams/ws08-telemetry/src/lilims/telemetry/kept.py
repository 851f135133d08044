"""What is kept of an event: this table, and nothing else.

Knows the events' fields and the names under which they are kept, those of OpenTelemetry's conventions for generative AI
where they have one (github.com/open-telemetry/semantic-conventions-genai), else `lilims.…`. A field that is not
in the table is dropped, and so is a value that has not its form: a number in range, one word of a list, a hash, the
name of a class or of a command. No form admits a path or a sentence. Must not know where records go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["EVENTS", "OPERATIONS", "Field", "Value", "keep"]

Value = str | int | float
Form = Callable[[Any], Value | None]


def _count(value: Any) -> Value | None:
    """A whole number below 2⁵³, which JSON can hold."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def _figure(value: Any) -> Value | None:
    """A number that is finite, not negative, to six significant digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) and value >= 0 else None


def _one_of(*words: str) -> Form:
    return lambda value: value if isinstance(value, str) and value in words else None


def _like(pattern: str) -> Form:
    form = re.compile(pattern)
    return lambda value: value if isinstance(value, str) and form.fullmatch(value) else None


_hash = _like(r"[0-9a-f]{64}")
_class = _like(r"[A-Z][A-Za-z0-9]{0,63}")
_command = _like(r"[a-z][a-z-]{0,31}")


@dataclass(frozen=True)
class Field:
    """A field of an event, the name under which it is kept, its form, and what it is, for people."""

    field: str
    name: str
    form: Form
    what: str


_MODEL = (
    Field("operation", "gen_ai.operation.name", _one_of("chat", "text_completion"), "a chat, or a text continued"),
    Field("model", "gen_ai.request.model", _hash, "SHA-256 of what decides the model's output; not its name"),
    Field("executor", "lilims.executor", _one_of("portable", "coreml"), "who ran the package"),
    Field("precision", "lilims.precision", _one_of("fast", "exact", "fp16"), "of the portable executor"),
)
_FIGURES = (
    Field("prompt_tokens", "gen_ai.usage.input_tokens", _count, "tokens of the prompt"),
    Field("reused_tokens", "gen_ai.usage.cache_read.input_tokens", _count, "of them, those in the cache"),
    Field("generated_tokens", "gen_ai.usage.output_tokens", _count, "tokens written"),
    Field("time_to_first_token", "gen_ai.response.time_to_first_chunk", _figure, "seconds to the first token"),
    Field("seconds", "lilims.seconds", _figure, "seconds of the generation, its consumer's not counted"),
    Field("prefill_tokens_per_second", "lilims.prefill.tokens_per_second", _figure, "prompt tokens computed a second"),
    Field("decode_tokens_per_second", "lilims.decode.tokens_per_second", _figure, "tokens written a second"),
    Field("drafted_tokens", "lilims.speculation.drafted_tokens", _count, "tokens that speculation proposed"),
    Field("accepted_tokens", "lilims.speculation.accepted_tokens", _count, "of them, those that were kept"),
    Field("peak_rss", "lilims.memory.peak", _count, "bytes, the most that the process has held"),
    Field("finish_reason", "gen_ai.response.finish_reasons", _one_of("stop", "length", "interrupt"), "why it ended"),
)
_ERROR = Field("error_type", "error.type", _class, "the error's class")

EVENTS: dict[str, tuple[Field, ...]] = {
    "generate.done": (*_MODEL, *_FIGURES),
    "generate.failed": (*_MODEL, *_FIGURES, _ERROR),
    "command.failed": (Field("command", "lilims.command", _command, "the command's name"), _ERROR),
    "executor.lost": (),
    "executor.fallback": (Field("executor", "lilims.executor", _one_of("portable", "coreml"), "who went on"),),
    "convert.done": (),
}
"""Name of an event → what is kept of it; all else is dropped."""
"""Event → what is kept of it. Other events are not."""

OPERATIONS = ("generate.done", "generate.failed")
"""The events that are a generation."""


def keep(name: str, fields: Mapping[str, Any]) -> dict[str, Value] | None:
    """What is kept of an event, by its names; None of an event that is not."""
    if name not in EVENTS:
        return None
    found = {field.name: field.form(fields.get(field.field)) for field in EVENTS[name]}
    return {key: value for key, value in found.items() if value is not None}
