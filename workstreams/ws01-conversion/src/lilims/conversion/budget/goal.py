"""What a quantised model may lose, as `--budget` says it.

Knows the grammar. Must not know how anything is measured.

    ppl<=3%      the perplexity on held-out text, over that of the checkpoint, minus 1
    kl<=0.05     the mean divergence KL(checkpoint ‖ model) of the next token, nats
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from lilims.core.errors import UsageError

__all__ = ["Figures", "Goal", "read_goal"]

_GOAL = re.compile(r"(ppl|kl)\s*<=\s*(\d+(?:\.\d+)?)\s*(%?)")


@dataclass(frozen=True)
class Figures:
    """How a model differs from the checkpoint on some tokens.

    Attributes:
        log_ratio: ln(perplexity / the checkpoint's), and the standard error of the paired differences.
        divergence: mean KL(checkpoint ‖ model), nats.
        nll: mean negative log likelihood of a token, nats.
    """

    log_ratio: float
    log_ratio_error: float
    divergence: float
    nll: float
    tokens: int

    @property
    def change(self) -> float:
        """Of the perplexity, relative."""
        return math.expm1(self.log_ratio)


@dataclass(frozen=True)
class Goal:
    """A bound, relative for ppl, in nats for kl."""

    of: Literal["ppl", "kl"]
    bound: float

    def __str__(self) -> str:
        return f"kl<={self.bound:.4g}" if self.of == "kl" else f"ppl<={100 * self.bound:.4g}%"

    def value(self, figures: Figures) -> float:
        """What is compared with the bound."""
        return figures.divergence if self.of == "kl" else figures.change

    def met(self, figures: Figures) -> bool:
        """Whether the bound holds; NaN meets none."""
        return self.value(figures) <= self.bound

    def text(self, value: float) -> str:
        """A value as people write it."""
        return f"{value:.4f} nats" if self.of == "kl" else f"{value:+.2%}"


def read_goal(text: str) -> Goal:
    """The goal that a text names.

    Raises:
        UsageError: it names none.
    """
    found = _GOAL.fullmatch(text.strip())
    if found is None or (found[1] == "kl") == (found[3] == "%"):
        raise UsageError(f"--budget {text!r} is no budget", hint='--budget "ppl<=3%", or "kl<=0.05"')
    value = float(found[2])
    if not value > 0:
        raise UsageError(f"--budget {text!r} leaves nothing to lose", hint="--quantize fp16 loses nothing")
    return Goal("ppl", value / 100) if found[1] == "ppl" else Goal("kl", value)
