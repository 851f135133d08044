"""How long a server is waited for, and how often it is asked again.

Knows times. Must not know requests.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Patience"]

_LONGEST_PAUSE = 60.0  # seconds


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try, in seconds.

    `attempts` counts tries in a row that bring nothing new: a server that breaks off after each megabyte is asked for
    the rest as long as there is some.
    """

    connect: float = 15
    silence: float = 30
    attempts: int = 5
    backoff: float = 0.5

    def pause(self, failures: int, asked: float | None) -> float:
        """How long to wait after the n-th failure in a row: twice as long each time, give or take a half."""
        if asked is not None:
            return min(asked, _LONGEST_PAUSE)
        return min(self.backoff * 2.0 ** (failures - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1.5)
