"""The policies that keep every token at the row of its position: error, rolling, sinks.

Knows which positions the ring still holds, and how sinks are turned. Must not know what runs the calls.

Sinks (StreamingLLM, arXiv:2309.17453) are the first `keep` tokens, which every later one sees. The model was trained on
distances below L, and the distance to the sinks grows with the text. Keys are turned by their position when they are
written, so a sink is moved by running it again at its row with a later position. That is exact: a sink sees only the
sinks before it, and all of them move together, which leaves their distances as they were.

Moving them costs `keep` calls, so they move every k tokens. For a query at position p they stand at o, o + 1, … with

    o(p) = 0                             for p < L
    o(p) = k · ceil((p - L + 1) / k)     from there on, so that L - k <= p - o(p) <= L - 1

and calls are cut where o changes: what a token is given depends on its position alone, not on where chunks end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lilims.core.errors import TokensGoneError, UnsupportedError, UsageError

from .chunks import Chunk, ring_row
from .plan import Call, DecoderShape, plan_calls
from .policy import ContextPolicy
from .rotary import RotaryParameters
from .window import ContextWindow, Need, Step, check_rows_used, layout_number

__all__ = ["RingWindow", "sink_stride", "trained_range"]


def trained_range(shape: DecoderShape) -> int:
    """L, the distances that the model is known to stand: what its rotary rule stretches it to, or the context."""
    rules = [rule for rule in (shape.rotary, shape.local_rotary) if rule is not None]
    known = [_stretched(rule) for rule in rules if rule.original_context and rule.kind != "dynamic"]
    return max(shape.context, min(known, default=0))


def _stretched(rule: RotaryParameters) -> int:
    return int((rule.original_context or 0) * rule.factor)


def sink_stride(shape: DecoderShape) -> int:
    """k, every how many tokens sinks move.

    Up to L - C + 1 they stay behind the window's oldest token. Where L leaves less room than a chunk, they come to
    stand among the oldest tokens, at most a quarter of the context deep: nothing depends on the order, and a chunk that
    is cut shorter costs as much as a whole one.
    """
    largest = max(shape.functions.values())
    return max(trained_range(shape) - shape.context + 1, min(largest, shape.context // 4), 1)


class RingWindow(ContextWindow):
    """A window whose rows are used again, or, with the policy error, only once."""

    def __init__(self, shape: DecoderShape, policy: ContextPolicy) -> None:
        _check(shape, policy)
        super().__init__(shape, policy, keep=policy.keep)
        self._keep = policy.keep
        self._limit = trained_range(shape)
        self._stride = sink_stride(shape)
        self._turned: int | None = 0  # where the sinks stand; None is not known
        reach = shape.context - policy.keep
        widest = max(shape.window or reach, shape.local_window or 0)
        self._needs = min(reach, widest)  # how many positions back some layer looks, the query's own included

    @property
    def room(self) -> int | None:
        return self.shape.context - self.position if self.policy.kind == "error" else None

    @property
    def undoable(self) -> int:
        if self.room is not None:
            return self.room
        shape, largest = self.shape, max(self.shape.functions.values())
        left = shape.rows - ring_row(self.position, shape.rows, self._keep)
        scratch = min(shape.rows - shape.context, largest)
        if shape.padded and left < largest:  # one by one to the last row; a padded chunk behind them would go too far
            scratch = min(scratch, left)
        return min(scratch, self._until_turn(self.position))

    @property
    def rows_used(self) -> int:
        return min(self.position, self.shape.rows)

    def plan(self, ids: Sequence[int], need: Need) -> Iterator[Step]:
        endless = self.policy.kind != "error"
        if not endless:  # refused as a whole, before anything is run
            plan_calls(len(ids), position=self.position, shape=self.shape, need_logits_of=need)
        done = 0
        while done < len(ids):
            start = self.position
            yield from self._turn()
            stretch = min(len(ids) - done, self._until_turn(start))
            keep = self._keep if endless else None
            calls = plan_calls(
                stretch, position=start, shape=self.shape, need_logits_of=need, keep=keep, reached=self.reached
            )
            for call in calls:
                first = done + call.chunk.position - start
                part = ids[first : first + call.chunk.count]
                yield Step(call, part, part)
            done += stretch

    def _sinks_at(self, position: int) -> int:
        """o(p): where the sinks stand for a query at `position`."""
        if self.policy.kind != "sinks" or position < self._limit:
            return 0
        return self._stride * -(-(position - self._limit + 1) // self._stride)

    def _until_turn(self, position: int) -> int:
        """How many positions from this one on find the sinks at the same place."""
        if self.policy.kind != "sinks":
            return self.shape.rows  # a plan of a long text is made piece by piece
        return self._sinks_at(position) + self._limit - position

    def _turn(self) -> Iterator[Step]:
        """Runs the sinks again where they are not where the next query needs them."""
        at = self._sinks_at(self.position)
        if at == self._turned:
            return
        self._turned = None
        for position in range(min(self._keep, self.position)):
            call = Call(self.shape.variant("decode", self._keep), Chunk(position, 1, 1), at)
            yield Step(call, [self.tokens[position]], (), wanted=False)
        self._turned = at

    def rewinds_to(self, position: int) -> bool:
        first = max(self._keep, position - self._needs + 1)
        wanted = np.arange(first, position)
        rows = [ring_row(at, self.shape.rows, self._keep) for at in wanted.tolist()]
        return bool((self.held.positions[rows] == wanted).all()) if rows else True

    def rewind(self, position: int) -> None:
        if not self.rewinds_to(position):
            raise TokensGoneError(
                f"cannot go back from {self.position} to {position} tokens: those before them are overwritten"
            )
        del self.tokens[position:]
        self.held.forget(position)

    def reset(self) -> None:
        super().reset()
        self._turned = 0

    def _own_layout(self) -> dict[str, int]:
        return {"first": self._first_held(), "turned": -1 if self._turned is None else self._turned}

    def _first_held(self) -> int:
        """The position from which on the ring holds all."""
        first = self.position
        while first > self._keep and self._holds(first - 1):
            first -= 1
        return first

    def _holds(self, position: int) -> bool:
        return bool(self.held.positions[ring_row(position, self.shape.rows, self._keep)] == position)

    def _restore(self, tokens: list[int], layout: Mapping[str, Any], rows: int) -> None:
        position, total = len(tokens), self.shape.rows
        if self.policy.kind == "error" and position > self.shape.context:
            raise UsageError(f"the snapshot's {position} tokens do not fit a context of {self.shape.context}")
        check_rows_used(rows, min(position, total))
        first = layout_number(layout, "first", position)
        start = min(self._keep, position)
        if first > max(start, position - self._needs + 1) or position - first > total - start:
            raise UsageError("the snapshot lacks tokens that the next one needs")
        turned = layout.get("turned")
        if turned != -1 and turned is not None:
            turned = layout_number(layout, "turned", position)
        self.tokens = tokens
        self.held.forget(0)
        for at in (*range(start), *range(first, position)):
            self.held.positions[ring_row(at, total, self._keep)] = at
        self._turned = None if turned == -1 else turned


def _check(shape: DecoderShape, policy: ContextPolicy) -> None:
    if policy.kind == "error":
        return
    if shape.max_positions is not None:
        raise UnsupportedError(
            f"the context policy {policy.kind!r} needs rotary positions; this model has learned ones",
            hint="take the context policy 'shift'",
        )
    if "decode" not in shape.functions:
        raise UnsupportedError(f"the context policy {policy.kind!r} needs a function 'decode'")
    if policy.keep >= shape.context:
        raise UsageError(f"a context of {shape.context} cannot keep {policy.keep} tokens and see others")
