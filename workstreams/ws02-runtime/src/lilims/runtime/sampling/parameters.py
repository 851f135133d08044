"""How tokens are chosen: the numbers a user gives, and which of them are possible.

Knows names, ranges and neutral values. Must not know what the numbers do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, TypedDict

from lilims.core.errors import UsageError

__all__ = ["SamplingOptions", "SamplingParameters"]


@dataclass(frozen=True)
class SamplingParameters:
    """How tokens are chosen. Every default leaves the model's distribution alone, but for `temperature`: greedy.

    Attributes:
        temperature: 0 is greedy; above 1 is flatter, below 1 is sharper.
        top_k: how many of the likeliest tokens may be drawn; 0 is all.
        top_p: the likeliest tokens that make up this share may be drawn; 1 is all.
        min_p: tokens at least this fraction as likely as the likeliest one may be drawn; 0 is all.
        typical_p: the tokens of the most typical information content that make up this share may be drawn; 1 is all.
        repetition_penalty: logits of tokens in prompt or answer are divided by it where positive and multiplied
            where negative; 1 is off, above 1 discourages.
        frequency_penalty: subtracted from a token's logit once for every time it stands in the answer; 0 is off.
        presence_penalty: subtracted from the logits of tokens that stand in the answer; 0 is off.
        logit_bias: id → what is added to its logit; -inf forbids it. An id outside the vocabulary is refused when the
            first token is chosen.
        seed: of the random numbers; None takes one from the operating system.
        logprobs: how many of the likeliest tokens are told beside the chosen one; 0 tells that one alone, None nothing.

    Raises:
        UsageError: a value is outside its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    seed: int | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        for name, (kind, fits, words) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, kind) or not fits(value):
                raise UsageError(f"{name.replace('_', '-')} must be {words}, not {value!r}")
        object.__setattr__(self, "logit_bias", _checked_bias(self.logit_bias))

    def changed(self, name: str) -> bool:
        """Whether the field differs from its default, which does nothing."""
        return bool(getattr(self, name) != _NEUTRAL[name])


class SamplingOptions(TypedDict, total=False):
    """Fields of `SamplingParameters` as keyword arguments; None is as left out."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repetition_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logit_bias: Mapping[int, float] | None
    seed: int | None
    logprobs: int | None


def _finite(value: Any) -> bool:
    return math.isfinite(value)


_RANGES: dict[str, tuple[type, Callable[[Any], bool], str]] = {
    "temperature": (Real, lambda v: math.isfinite(v) and v >= 0, "0 (greedy) or more"),
    "top_k": (Integral, lambda v: v >= 0, "a whole number, 0 (all) or more"),
    "top_p": (Real, lambda v: 0 < v <= 1, "above 0 and at most 1"),
    "min_p": (Real, lambda v: 0 <= v <= 1, "from 0 to 1"),
    "typical_p": (Real, lambda v: 0 < v <= 1, "above 0 and at most 1"),
    "repetition_penalty": (Real, lambda v: math.isfinite(v) and v > 0, "above 0"),
    "frequency_penalty": (Real, _finite, "a finite number"),
    "presence_penalty": (Real, _finite, "a finite number"),
    "seed": (Integral, lambda v: v >= 0, "a whole number, 0 or more"),
    "logprobs": (Integral, lambda v: v >= 0, "a whole number, 0 or more"),
}
_OPTIONAL = ("seed", "logprobs")


def _checked_bias(bias: Mapping[int, float]) -> dict[int, float]:
    """A copy of its own, as frozen as its owner."""
    if not isinstance(bias, Mapping):
        raise UsageError(f"logit-bias must map token ids to numbers, not be {type(bias).__name__}")
    for token, value in bias.items():
        if isinstance(token, bool) or not isinstance(token, Integral) or token < 0:
            raise UsageError(f"logit-bias must name tokens by their ids, not {token!r}")
        if isinstance(value, bool) or not isinstance(value, Real) or not value < math.inf:
            raise UsageError(f"logit-bias of token {token} must be a number or -inf, not {value!r}")
    return {int(token): float(value) for token, value in bias.items()}


_NEUTRAL: dict[str, Any] = {f.name: {} if f.name == "logit_bias" else f.default for f in fields(SamplingParameters)}
