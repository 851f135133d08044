"""From logits to the next token of one text.

Knows the text's tokens so far and random numbers. Must not know tokenizers, models or sessions.

A token is drawn by one number u, uniform in [0, 1): the first candidate, in the order of ids, whose cumulated share
exceeds u. u comes from a PCG64 stream, whose bits are the same on every platform and in every numpy (NEP 19), one
number a token.
`exp` may differ between platforms in its last bit: that changes a token only if u falls within 1e-15 of a boundary, or
1e-6 where more than 4,096 candidates are left (candidates.py).
"""

from __future__ import annotations

import copy
import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError

from .candidates import Candidates, Values, shares_of
from .chain import PROCESSORS, process, warp
from .constraint import Constraint
from .logprobs import log_probabilities
from .parameters import SamplingParameters
from .penalties import History

__all__ = ["Choice", "Sampler", "probabilities"]

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Choice:
    """A token that was chosen.

    Attributes:
        id: its id.
        logprob: natural logarithm of the probability that the model gave it, None unless `logprobs` was asked for.
        top: ids and logprobs of the likeliest tokens, likeliest first, as many as `logprobs` says.
    """

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses tokens for one text.

    Args:
        constraint: what the text must be; it is moved on with every choice, so it belongs to this sampler.

    Attributes:
        seed: the seed in use; given again, it gives the same tokens.
    """

    def __init__(self, parameters: SamplingParameters, constraint: Constraint | None = None) -> None:
        self.parameters = parameters
        self.constraint = constraint
        self.seed = secrets.randbits(32) if parameters.seed is None else parameters.seed
        self._random = np.random.Generator(np.random.PCG64(self.seed))
        self._history = History()
        # Without any of these, greedy choice needs no copy of the logits.
        self._plain = constraint is None and not any(map(parameters.changed, PROCESSORS))

    @property
    def finished(self) -> bool:
        """Whether the constraint is fulfilled and nothing can follow: to go on would be an error."""
        return self.constraint is not None and self.constraint.is_finished

    @property
    def complete(self) -> bool | None:
        """Whether the text fulfils its constraint as it stands; None without one."""
        return None if self.constraint is None else self.constraint.can_stop

    def observe(self, ids: Iterable[int]) -> None:
        """Tells the prompt: the repetition penalty looks at it."""
        if self.parameters.changed("repetition_penalty"):
            self._history.observe(ids)

    def choose(self, logits: Values) -> Choice:
        """Chooses the next token for logits [vocab], and goes on by it.

        Raises:
            ExecutionError: a logit is NaN or +inf, or nothing may be chosen.
            UsageError: the logit bias names a token outside the vocabulary.
        """
        found = self._candidates(logits)
        place = self.draw(np.exp(found.values, out=found.values)) if self.parameters.temperature else 0
        return self.accept(place if found.tokens is None else int(found.tokens[place]), logits)

    def distribution(self, logits: Values) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """What the next token is drawn from: ids ascending, and their probabilities (sum 1); greedy: one id.

        Raises:
            ExecutionError, UsageError: as `choose`.
        """
        found = self._candidates(logits)
        return found.ids, shares_of(found.values)

    def draw(self, weights: Values) -> int:
        """A place in `weights` (not negative, any sum above 0), by one random number.

        First the block that the number falls into, then the place in it: sums are faster than a cumulated sum.
        """
        starts = np.arange(0, len(weights), _BLOCK)
        blocks = np.cumsum(np.add.reduceat(weights, starts, dtype=np.float64))
        target = self.uniform() * blocks[-1]
        block = _first_above(blocks, target)
        inside = np.cumsum(weights[starts[block] :][:_BLOCK], dtype=np.float64)
        return int(starts[block]) + _first_above(inside, target - (blocks[block - 1] if block else 0.0))

    def uniform(self) -> float:
        """The next random number, in [0, 1)."""
        return self._random.random()

    def accept(self, token: int, logits: Values | None = None) -> Choice:
        """Goes on by a token that was chosen elsewhere.

        Args:
            logits: what it was chosen from, for its logprob.
        """
        self._history.record(token)
        if self.constraint is not None:
            self.constraint.accept(token)
        if self.parameters.logprobs is None or logits is None:
            return Choice(token)
        return Choice(token, *log_probabilities(logits, token, self.parameters.logprobs))

    def fork(self, seed: int | None = None) -> Sampler:
        """One that goes on by itself from here: the same random numbers, or those of another seed."""
        other = copy.copy(self)
        other._history = self._history.copy()
        other.constraint = None if self.constraint is None else self.constraint.fork()
        other._random = copy.deepcopy(self._random)
        if seed is not None:
            other.seed, other._random = seed, np.random.Generator(np.random.PCG64(seed))
        return other

    def _candidates(self, logits: Values) -> Candidates:
        """What may be drawn; greedy: the largest logit alone, of equal ones the lowest id."""
        processed = self._processed(logits)
        if self.parameters.temperature:
            return warp(processed, self.parameters)
        return Candidates(None, processed).at(np.argmax(processed, keepdims=True))

    def _processed(self, logits: Values) -> Values:
        best = float(np.max(logits))  # NaN if there is one
        if not math.isfinite(best):
            token = int(np.argmax(logits))
            raise ExecutionError(
                f"the logits are not finite (token {token}: {best})",
                hint="the model overflows in its precision: convert it with another --quantize, or check the weights",
            )
        if self._plain:
            return logits
        processed = process(logits, self.parameters, self._history, self._allowed(len(logits)))
        if not math.isfinite(processed.max()):
            raise ExecutionError(
                "no token may be chosen: the constraint, the logit bias and the model's -inf leave none",
                hint="forbid fewer tokens, or give a constraint that the vocabulary can spell",
            )
        return processed

    def _allowed(self, count: int) -> NDArray[np.bool_] | None:
        """What the constraint lets through, as wide as the logits."""
        if self.constraint is None:
            return None
        mask = self.constraint.allowed()[:count]
        return mask if len(mask) == count else np.concatenate((mask, np.zeros(count - len(mask), np.bool_)))


def _first_above(bounds: NDArray[np.float64], target: float) -> int:
    """The first place whose bound is above the target; where rounding has left none, the last that adds anything."""
    return int(min(np.searchsorted(bounds, target, side="right"), np.searchsorted(bounds, bounds[-1])))


def probabilities(logits: Values, parameters: SamplingParameters) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What the first token of a text would be drawn from; see `Sampler.distribution`."""
    return Sampler(parameters).distribution(logits)
