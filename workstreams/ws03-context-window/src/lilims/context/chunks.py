"""Where tokens stand: a chunk of them, and the row of each position.

Knows rows and positions. Must not know functions, masks or token ids.

    rows of the state   0 ............................ C ......... R        R >= C + S_max
    tokens so far       ████████████
    chunk               ............[count|padding]                         slot = 12, size = count + padding

Padding is written to the rows right after the chunk's last token. The next token is written over the first of them, and
no mask shows a row that holds no token, so padding is never seen.

Where the text may be longer than the state, rows are used again: the first `keep` positions stay in the first rows, the
others go round in the rest, which has N = R - keep rows. A chunk of S at position p overwrites positions up to
p + S - 1 - N; its first token looks back to p - (C - keep) + 1, which is later, as N >= C - keep + S - 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ROW_MULTIPLE", "Chunk", "ring_row", "state_rows"]

ROW_MULTIPLE = 32
"""The contract wants the state's rows and its head dimension in multiples of this."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` tokens written to rows `slot`, `slot + 1`, … by a call whose shape holds `size` tokens.

    Rows `slot + count` up to `slot + size` receive padding.

    Attributes:
        position: of the first token; the same as `slot` unless it is given.
    """

    slot: int
    count: int
    size: int
    position: int = -1

    def __post_init__(self) -> None:
        if self.slot < 0 or not 1 <= self.count <= self.size:
            raise ValueError(f"not a chunk: slot {self.slot}, {self.count} tokens in a shape of {self.size}")
        if self.position < 0:
            object.__setattr__(self, "position", self.slot)

    @property
    def end(self) -> int:
        """The position after the chunk's last token."""
        return self.position + self.count


def state_rows(context: int, sizes: Iterable[int]) -> int:
    """R, the rows of a state for `context` tokens and calls of these sizes: C + S_max, rounded up to 32.

    The last token of a full context may stand first in a padded chunk, whose padding then needs S_max - 1 rows more.
    """
    largest = max(sizes)
    if context < 1 or largest < 1:
        raise ValueError(f"a state needs a context and a chunk of at least 1, not {context} and {largest}")
    return -(-(context + largest) // ROW_MULTIPLE) * ROW_MULTIPLE


def ring_row(position: int, rows: int, keep: int = 0) -> int:
    """The row of a position: its own number, until the rows are used again from row `keep` on."""
    return position if position < rows else keep + (position - keep) % (rows - keep)
