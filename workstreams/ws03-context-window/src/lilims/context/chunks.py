"""A prompt cut into chunks of one fixed size.

Knows rows and positions. Must not know functions, masks or token ids.

    rows of the state   0 ............................ C ......... R        R >= C + S_max
    tokens so far       ████████████
    chunk               ............[count|padding]                         slot = 12, size = count + padding

Padding is written to the rows right after the chunk's last token. The next token is written over the first of them, and
no mask shows a row past the position it is made for, so padding is never seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lilims.core.errors import ContextOverflowError

__all__ = ["ROW_MULTIPLE", "Chunk", "plan_prefill", "state_rows"]

ROW_MULTIPLE = 32
"""The contract wants the state's rows and its head dimension in multiples of this."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` tokens written to rows `slot`, `slot + 1`, … by a call whose shape holds `size` tokens.

    The row of a token is its position. Rows `slot + count` up to `slot + size` receive padding.
    """

    slot: int
    count: int
    size: int

    def __post_init__(self) -> None:
        if self.slot < 0 or not 1 <= self.count <= self.size:
            raise ValueError(f"not a chunk: slot {self.slot}, {self.count} tokens in a shape of {self.size}")

    @property
    def end(self) -> int:
        """The position after the chunk's last token."""
        return self.slot + self.count


def state_rows(context: int, sizes: Iterable[int]) -> int:
    """R, the rows of a state for `context` tokens and calls of these sizes: C + S_max, rounded up to 32.

    The last token of a full context may stand first in a padded chunk, whose padding then needs S_max - 1 rows more.
    """
    largest = max(sizes)
    if context < 1 or largest < 1:
        raise ValueError(f"a state needs a context and a chunk of at least 1, not {context} and {largest}")
    return -(-(context + largest) // ROW_MULTIPLE) * ROW_MULTIPLE


def plan_prefill(tokens: int, *, position: int, chunk: int, capacity: int) -> list[Chunk]:
    """Cuts `tokens` tokens that start at `position` into chunks of size `chunk`; only the last one is padded.

    Args:
        tokens: how many tokens are to be written; 0 gives no chunk.
        position: how many tokens the state holds already.
        chunk: S, the fixed size of the function's shape.
        capacity: C, the rows that may hold tokens. Every `slot + size` stays below `capacity + chunk`.

    Raises:
        ContextOverflowError: the tokens do not fit behind `position`.
    """
    if tokens < 0 or position < 0 or chunk < 1:
        raise ValueError(f"cannot cut {tokens} tokens at position {position} into chunks of {chunk}")
    if position + tokens > capacity:
        raise ContextOverflowError(
            f"{position} tokens in the context and {tokens} more do not fit into {capacity}",
            hint=f"shorten the input by {position + tokens - capacity} tokens, or convert with a larger --context",
        )
    return [
        Chunk(slot=position + done, count=min(chunk, tokens - done), size=chunk) for done in range(0, tokens, chunk)
    ]
