"""When checking a proposal pays, and how long it should be.

Knows seconds and counts. Must not know models.

A check costs as much as a piece of a prompt: where chunks are padded the same for one proposed token as for a chunk of
them, else the more the longer the proposal is. It pays where the tokens that it gives would have taken longer one by
one. Both costs and the tokens per check are running means. Where it does not pay it is tried again after a while, and
ever more rarely: what such checks lose is at most an eighth of the time, and less and less of it.
"""

from __future__ import annotations

import math

__all__ = ["Pace", "Reach"]

_WEIGHT = 0.2
_LONGEST_WAIT = 1024
_STEPS_PER_LOSS = 8
_FIRST_LENGTH = 4


class Pace:
    """Running means of a generation's steps.

    Attributes:
        step: seconds of a plain step, None before the first.
        check: seconds of a check, None before the second: a first call may load the function.
        gain: tokens that a check gives, None before the first.
        tokens, seconds: of all steps and checks.
    """

    def __init__(self) -> None:
        self.step: float | None = None
        self.check: float | None = None
        self.gain: float | None = None
        self.tokens = 0
        self.seconds = 0.0
        self._checks = 0
        self._wait = 0
        self._next_wait = 0

    @property
    def speedup(self) -> float | None:
        """How many times faster than by plain steps alone, as far as their mean tells; None without one."""
        return None if self.step is None or not self.seconds else self.tokens * self.step / self.seconds

    def pays(self) -> bool:
        """Whether to check next. The first step is a plain one, so that there is something to compare with."""
        if self.step is None:
            return False
        if self.check is None or self.gain is None or self.gain * self.step > self.check:
            return True
        self._wait -= 1
        return self._wait < 0

    def stepped(self, seconds: float) -> None:
        """A plain step is done."""
        self.step = _mean(self.step, seconds)
        self._count(1, seconds)

    def checked(self, tokens: int, seconds: float) -> None:
        """A check is done, which gave so many tokens."""
        self.gain = _mean(self.gain, tokens)
        self._checks += 1
        if self._checks > 1 and self.step is not None:
            self.check = _mean(self.check, seconds)
            if self.gain * self.step > self.check:
                self._next_wait = 0
            else:
                self._wait = max(self._next_wait, math.ceil(_STEPS_PER_LOSS * self.check / self.step))
                self._next_wait = min(2 * self._wait, _LONGEST_WAIT)
        self._count(tokens, seconds)

    def _count(self, tokens: int, seconds: float) -> None:
        self.tokens += tokens
        self.seconds += seconds


class Reach:
    """How many tokens to propose where each one costs: twice as many after all were accepted, else as many as were.

    Attributes:
        length: tokens of the next proposal.
    """

    def __init__(self, most: int) -> None:
        self.length = min(_FIRST_LENGTH, most)
        self._most = most

    def checked(self, proposed: int, accepted: int) -> None:
        """A check is done."""
        if accepted < proposed:
            self.length = max(accepted, 1)
        elif proposed >= self.length:
            self.length = min(2 * self.length, self._most)


def _mean(mean: float | None, value: float) -> float:
    return value if mean is None else (1 - _WEIGHT) * mean + _WEIGHT * value
