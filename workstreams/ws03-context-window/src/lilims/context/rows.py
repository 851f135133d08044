"""What each row of the state holds.

Knows rows and positions. Must not know how they were chosen, or what a mask makes of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .chunks import Chunk

__all__ = ["StateRows"]


class StateRows:
    """The position of the token in each row; -1 where there is none, or only padding.

    Attributes:
        positions: int64 [R].
        changes: grows with every change but the plain next step of decoding, so that masks need not be made anew then.
    """

    def __init__(self, rows: int) -> None:
        self.positions: NDArray[np.int64] = np.full(rows, -1, np.int64)
        self.changes = 0

    def __len__(self) -> int:
        return len(self.positions)

    def begin(self, chunk: Chunk) -> None:
        """A call will overwrite the chunk's rows. Whatever becomes of it, they no longer hold what they held."""
        self.positions[chunk.slot : chunk.slot + chunk.size] = -1
        self.changes += chunk.size > 1

    def finish(self, chunk: Chunk) -> None:
        """The call is done: its tokens are there. Padding is nothing."""
        self.positions[chunk.slot : chunk.slot + chunk.count] = np.arange(chunk.position, chunk.end)

    def forget(self, position: int) -> None:
        """Nothing is held of this position and later ones."""
        self.positions[self.positions >= position] = -1
        self.changes += 1

    def during(self, chunk: Chunk) -> NDArray[np.int64]:
        """The positions as a call's queries meet them: padding stands where tokens would."""
        found = self.positions.copy()
        found[chunk.slot : chunk.slot + chunk.size] = np.arange(chunk.position, chunk.position + chunk.size)
        return found
