"""From tokens to calls, and from a call to the inputs of a package's function.

Knows the contract's input names, shapes and dtypes. Must not know what executes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import ContextOverflowError

from .chunks import Chunk, ring_row
from .masks import MASK_VALUE, DecodeMask, Visibility, attention_mask
from .rotary import RotaryParameters, RotaryTables
from .rows import StateRows

__all__ = ["AT_ONCE", "Call", "DecoderShape", "StepInputs", "plan_calls"]

AT_ONCE = 512
"""The most tokens of a prompt in one call where nothing is padded."""


@dataclass(frozen=True)
class DecoderShape:
    """What the planner has to know of a decoder package.

    Attributes:
        context: C, the most tokens that the state holds.
        rows: R, the rows of the state.
        functions: S of each function: `decode` (1), `prefill`, `score`, and variants of the first two such as
            `decode_512`, which read fewer rows (buckets).
        reads: rows that a function's queries see, for those that read fewer than R: the first ones of the state.
        rotary, local_rotary: tables to send as `cos`, `sin` and `local_cos`, `local_sin`.
        max_positions: rows of a table of learned positions; then `positions` is sent.
        window: the sliding window of every layer that reads `attention_mask`, if they have one.
        local_window: the window of the layers that read `local_attention_mask`, if there are such layers.
        mask_value: what hides a row.
        padding: a real token id, put behind the last token of a padded chunk.
        padded: whether a call has as many tokens as its function; False where it may have any number, and nothing is
            padded.
    """

    context: int
    rows: int
    functions: Mapping[str, int]
    reads: Mapping[str, int] = field(default_factory=dict)
    rotary: RotaryParameters | None = None
    local_rotary: RotaryParameters | None = None
    max_positions: int | None = None
    window: int | None = None
    local_window: int | None = None
    mask_value: float = MASK_VALUE
    padding: int = 0
    padded: bool = True

    def __post_init__(self) -> None:
        if not self.functions or min(self.functions.values()) < 1:
            raise ValueError(f"a decoder has functions of at least one token, not {dict(self.functions)}")
        if self.functions.get("decode", 1) != 1:
            raise ValueError(f"decode takes one token, not {self.functions['decode']}")
        largest = max(self.functions.values())
        if self.context < 1 or self.context - 1 + largest > self.rows:
            raise ValueError(f"{self.rows} rows are too few for a context of {self.context} and chunks of {largest}")
        if self.max_positions is not None and self.context > self.max_positions:
            raise ValueError(f"a context of {self.context} exceeds the {self.max_positions} learned positions")
        for name, rows in self.reads.items():
            if name not in self.functions or not 1 <= rows < self.rows or kind_of(name) not in self.functions:
                raise ValueError(f"{name!r} cannot read {rows} of {self.rows} rows beside {', '.join(self.functions)}")
            if self.functions[name] != self.functions[kind_of(name)]:
                raise ValueError(f"{name!r} takes {self.functions[name]} tokens, not as many as {kind_of(name)!r}")

    def most(self, function: str, position: int = 0, reached: int = 0) -> int:
        """The most tokens of a function's call at a position.

        Where nothing is padded, a prompt's call has up to `AT_ONCE` of them, as a weight that is read then serves more
        tokens. They stand in rows that hold nothing yet, and queries × rows are no more than those of a chunk of S
        over the whole state, which is what a model's memory is planned for.

        Args:
            reached: the rows that calls have used until now: an executor may let every call see them.
        """
        size = self.functions[function]
        if self.padded or kind_of(function) != "prefill":
            return size
        room = size * self.rows
        fitting = (isqrt(position * position + 4 * room) - position) // 2  # n with n · (position + n) <= room
        return max(size, min(AT_ONCE, fitting, room // max(reached, 1), self.rows - position))

    def rows_read(self, function: str) -> int:
        """The rows that a function's mask covers."""
        return self.reads.get(function, self.rows)

    def variant(self, kind: str, end: int) -> str:
        """The function of a kind that reads the fewest rows, of those that show a token at position `end` - 1."""
        names = [name for name in self.functions if kind_of(name) == kind and self.rows_read(name) >= end]
        return min(names, key=self.rows_read)


def kind_of(function: str) -> str:
    """`decode` of `decode_512`: what a function does, whatever it reads."""
    return function.partition("_")[0]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one function.

    Attributes:
        turned: added to the chunk's positions before they go to the rotary tables.
    """

    function: str
    chunk: Chunk
    turned: int = 0


def plan_calls(
    tokens: int,
    *,
    position: int,
    shape: DecoderShape,
    need_logits_of: Literal["last", "all"] = "last",
    keep: int | None = None,
    reached: int = 0,
) -> list[Call]:
    """The calls that write `tokens` tokens behind `position` others.

    With "last" the final call returns the logits of the last token: chunks go through `prefill`, and a token that
    stands alone at the end through `decode`. With "all" every call returns logits for each of its tokens, through
    `score`. A package without the chunked function is called token by token through `decode`. Where a function has
    variants that read fewer rows, each call takes the one with the fewest that hold its last token.

    Args:
        keep: None lets no token past the context. A number lets rows from `keep` on be used again (chunks.py). Where a
            chunk would run over the last row, tokens go through `decode` until the first row is reached.
        reached: as in `DecoderShape.most`.

    Raises:
        ContextOverflowError: the tokens do not fit.
    """
    if tokens < 0 or position < 0:
        raise ValueError(f"cannot place {tokens} tokens behind {position}")
    if keep is None:
        _check_room(tokens, position, shape.context)
    chunked = "prefill" if need_logits_of == "last" else "score"
    name = chunked if chunked in shape.functions else "decode"
    calls: list[Call] = []
    end = position + tokens
    while position < end:
        slot = ring_row(position, shape.rows, keep or 0)
        size = shape.most(name, position, reached)
        alone = need_logits_of == "last" and position + 1 == end and "decode" in shape.functions
        size = size if shape.padded else min(size, end - position)
        function, size = ("decode", 1) if alone or slot + size > shape.rows else (name, size)
        chunk = Chunk(slot, min(size, end - position), size, position)
        calls.append(Call(shape.variant(function, min(chunk.end, shape.rows)), chunk))
        position = chunk.end
    return calls


def _check_room(tokens: int, position: int, capacity: int) -> None:
    if position + tokens > capacity:
        raise ContextOverflowError(
            f"{position} tokens in the context and {tokens} more do not fit into {capacity}",
            hint=f"shorten the input by {position + tokens - capacity} tokens, convert with a larger --context, or "
            "choose a context policy that drops tokens",
        )


class StepInputs:
    """Builds the inputs of calls. For one session: it keeps the arrays of the last single-token call and updates them.

    Kinds of rotary scaling that depend on a length take the package's context (see rotary.py for why).

    Args:
        held: what the rows of the session's state hold; its owner keeps it up to date.
        keep: positions that are visible from anywhere.
    """

    def __init__(self, shape: DecoderShape, held: StateRows, *, keep: int = 0) -> None:
        self._shape = shape
        self._held = held
        self._rotary = {
            prefix: RotaryTables(parameters, length=shape.context)
            for prefix, parameters in (("", shape.rotary), ("local_", shape.local_rotary))
            if parameters is not None
        }
        reach = shape.context - keep
        self._seen = {"attention_mask": Visibility(reach, keep, shape.window)}
        if shape.local_window is not None:
            self._seen["local_attention_mask"] = Visibility(reach, keep, shape.local_window)
        self._masks = {
            name: DecodeMask(held, visibility, mask_value=shape.mask_value) for name, visibility in self._seen.items()
        }
        self._ids = np.zeros((1, 1), np.int32)
        self._slot = np.zeros(1, np.int32)
        self._position = np.zeros(1, np.int32)

    def build(self, call: Call, ids: Sequence[int] | NDArray[np.integer]) -> dict[str, NDArray[Any]]:
        """The inputs of `call` for its tokens.

        Returns:
            A new dict of `input_ids` int32 [1, S], `slot` int32 [1], `attention_mask` float32 [1, 1, S, rows that the
            function reads], and as the shape says `local_attention_mask` like it, `cos` and `sin` float32
            [1, 1, S, rotary_dim] (`local_cos`, `local_sin`), `positions` int32 [S]; for `prefill` `last` int32 [1], the
            row whose logits come back. The arrays of a call of size 1 are reused: they hold until the next call of
            `build`, and must not be written.

        Raises:
            ValueError: `ids` has not the chunk's count of tokens, or the function another size.
        """
        chunk = call.chunk
        most = self._shape.most(call.function) if call.function in self._shape.functions else 0
        if len(ids) != chunk.count or (chunk.size != most if self._shape.padded else not 1 <= chunk.size <= most):
            raise ValueError(f"{len(ids)} tokens are not the {chunk} of {call.function!r}")
        rows = self._shape.rows_read(call.function)
        inputs = self._one(call, int(ids[0]), rows) if chunk.size == 1 else self._many(call, ids, rows)
        if kind_of(call.function) == "prefill":
            inputs["last"] = np.array([chunk.count - 1], np.int32)
        return inputs

    def _one(self, call: Call, token: int, rows: int) -> dict[str, NDArray[Any]]:
        self._ids[0, 0] = token
        self._slot[0] = call.chunk.slot
        inputs: dict[str, NDArray[Any]] = {"input_ids": self._ids, "slot": self._slot}
        for name, mask in self._masks.items():
            line = mask.at(call.chunk)
            inputs[name] = line if rows == self._shape.rows else line[..., :rows]
        for prefix, tables in self._rotary.items():
            inputs[f"{prefix}cos"], inputs[f"{prefix}sin"] = tables.at_one(call.chunk.position + call.turned)
        if self._shape.max_positions is not None:
            self._position[0] = call.chunk.position
            inputs["positions"] = self._position
        return inputs

    def _many(self, call: Call, ids: Sequence[int] | NDArray[np.integer], rows: int) -> dict[str, NDArray[Any]]:
        shape, chunk = self._shape, call.chunk
        padded = np.full((1, chunk.size), shape.padding, np.int32)
        padded[0, : chunk.count] = ids
        positions = np.arange(chunk.position, chunk.position + chunk.size)
        inputs: dict[str, NDArray[Any]] = {"input_ids": padded, "slot": np.array([chunk.slot], np.int32)}
        for name, visibility in self._seen.items():
            # padding may stand past the rows that the function reads
            mask = attention_mask(chunk, self._held, visibility, mask_value=shape.mask_value)
            inputs[name] = np.ascontiguousarray(mask[..., :rows])
        for prefix, tables in self._rotary.items():
            inputs[f"{prefix}cos"], inputs[f"{prefix}sin"] = tables.at(positions + call.turned)
        if shape.max_positions is not None:  # padding may stand past the table's end
            inputs["positions"] = np.minimum(positions, shape.max_positions - 1).astype(np.int32)
        return inputs
