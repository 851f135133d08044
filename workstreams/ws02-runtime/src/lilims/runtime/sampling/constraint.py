"""What a sampler asks of a grammar. `lilims.runtime.constrained` makes them from schemas, expressions and grammars.

Knows the interface. Must not know any grammar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Constraint"]


class Constraint(Protocol):
    """A language, and how far into it a text has come."""

    def allowed(self) -> NDArray[np.bool_]:
        """Which ids may come next, bool [n]; ids beyond n may not. An eos is among them where the text may end."""

    def accept(self, token: int) -> None:
        """Goes on by a token that `allowed`."""

    def acceptable(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, could come next; nothing is accepted."""

    def forced(self) -> Sequence[int]:
        """Tokens that are the only way on from here; empty where there are several, or none."""

    @property
    def can_stop(self) -> bool:
        """Whether the text so far is a whole one."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing can follow but the end."""

    def rollback(self, count: int) -> None:
        """Takes back the last `count` tokens accepted."""

    def fork(self) -> Constraint:
        """One that goes on by itself."""
