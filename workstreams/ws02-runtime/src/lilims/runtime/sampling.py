"""From logits to the next token: greedy, or drawn with temperature, top-k and top-p.

Knows arrays and random numbers. Must not know tokenizers, models or sessions.

The order is that of transformers' logits processors (temperature, top-k, top-p), all in float64:

    1. temperature   logits / T
    2. top-k         keep the k largest; of equal logits the lower id comes first
    3. softmax       over what is left
    4. top-p         keep the fewest likeliest tokens whose probabilities reach p; at least one
    5. draw          one uniform number u in [0, 1): the first token, likeliest first, whose cumulated share exceeds u

Temperature 0 is greedy: the largest logit, of equal ones the lowest id; nothing is drawn.

Reproducible: a PCG64 stream (its bits are the same on every platform and in every numpy) gives one number a token, and
nothing depends on the order in which a partial sort leaves its elements. `exp` may differ between platforms in its
last bit, which changes a token only if u falls within 1e-15 of a boundary.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError, UsageError

__all__ = ["Sampler", "SamplingParameters", "probabilities"]


@dataclass(frozen=True)
class SamplingParameters:
    """How tokens are chosen.

    Attributes:
        temperature: 0 is greedy; above 1 is flatter, below 1 is sharper.
        top_k: how many of the likeliest tokens may be drawn; 0 is all.
        top_p: the likeliest tokens that make up this share may be drawn; 1 is all.
        seed: of the random numbers; None takes one from the operating system.

    Raises:
        UsageError: a value is outside its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature must be 0 or more, not {self.temperature}")
        if self.top_k < 0:
            raise UsageError(f"top-k must be 0 (all) or more, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top-p must be above 0 and at most 1, not {self.top_p}")
        if self.seed is not None and self.seed < 0:
            raise UsageError(f"the seed must be 0 or more, not {self.seed}")


class Sampler:
    """Chooses tokens for one stream of text.

    Attributes:
        seed: the seed in use; given again, it gives the same tokens.
    """

    def __init__(self, parameters: SamplingParameters) -> None:
        self.parameters = parameters
        self.seed = secrets.randbits(32) if parameters.seed is None else parameters.seed
        self._random = np.random.Generator(np.random.PCG64(self.seed))

    def choose(self, logits: NDArray[np.floating[Any]]) -> int:
        """The next token for logits [vocab].

        Raises:
            ExecutionError: a logit is NaN, or the largest is infinite.
        """
        best = int(np.argmax(logits))  # the first NaN if there is one
        if not math.isfinite(logits[best]):
            raise ExecutionError(
                f"the logits are not finite (token {best}: {float(logits[best])})",
                hint="the model overflows in its precision: convert it with another --quantize, or check the weights",
            )
        if self.parameters.temperature == 0:
            return best
        tokens, shares = probabilities(logits, self.parameters)
        bounds = np.cumsum(shares)
        drawn = np.searchsorted(bounds, self._random.random() * bounds[-1], side="right")
        return int(tokens[min(int(drawn), len(tokens) - 1)])


def probabilities(
    logits: NDArray[np.floating[Any]], parameters: SamplingParameters
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The tokens that may be drawn at a temperature above 0, likeliest first, and their probabilities (sum 1).

    A temperature so low that the division overflows keeps the largest logit alone, as its limit does.
    """
    wide = np.asarray(logits, np.float64)
    with np.errstate(over="ignore"):
        wide = (wide - wide.max()) / parameters.temperature  # at most 0: exp cannot overflow
    tokens = _largest(wide, parameters.top_k) if 0 < parameters.top_k < len(wide) else np.arange(len(wide))
    shares = np.exp(wide[tokens])
    shares /= shares.sum()
    if parameters.top_p < 1:
        # All tokens below this bound together have less than 1 - p: none is in the nucleus, so only others are sorted.
        likely = shares >= (1 - parameters.top_p) / len(shares)
        tokens, shares = tokens[likely], shares[likely]
    order = np.argsort(-shares, kind="stable")  # equal ones by id
    tokens, shares = tokens[order], shares[order]
    if parameters.top_p < 1:
        kept = np.cumsum(shares) - shares < parameters.top_p
        tokens, shares = tokens[kept], shares[kept]
    return tokens, shares / shares.sum()


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Indices of the `count` largest values in index order; of equal ones the first.

    The count-th value itself does not depend on how a partial sort leaves its elements; their order would.
    """
    bound = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = np.flatnonzero(values > bound), np.flatnonzero(values == bound)
    return np.sort(np.concatenate((above, equal[: count - len(above)])))
