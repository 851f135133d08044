"""The policy that empties the state and runs what is kept again: shift.

Knows which part of the text the state holds at which length. Must not know what runs the calls.

    C = 10, keep = 2          0 1 2 3 4 5 6 7 8 9          full; token 10 comes
    half = (C - keep) // 2    0 1 · · · · 6 7 8 9 | 10     4 dropped: the first 2 and the newest 4 are run again
                              rows 0 1 2 3 4 5 | 6

A text of t tokens has been shifted s = ceil((t - C) / (C - keep - half)) times. So where a token stands depends on its
place in the text alone, and a long prompt can begin with the last shift: what came before it would be dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lilims.core.errors import UsageError

from .plan import DecoderShape, plan_calls
from .policy import ContextPolicy
from .window import ContextWindow, Need, Step, check_rows_used, layout_number

__all__ = ["ShiftWindow"]


class ShiftWindow(ContextWindow):
    """A window that drops the older half of what it may drop, all at once. Positions count within what is held."""

    def __init__(self, shape: DecoderShape, policy: ContextPolicy) -> None:
        if policy.keep > shape.context - 2:
            raise UsageError(f"a context of {shape.context} cannot keep {policy.keep} tokens and drop others")
        super().__init__(shape, policy)
        self._keep = policy.keep
        self._step = shape.context - policy.keep - (shape.context - policy.keep) // 2  # tokens that a shift drops
        self._dropped = 0  # tokens behind the kept ones that the rows leave out
        self._rows = 0  # rows that hold tokens

    @property
    def undoable(self) -> int:
        return max(self.shape.context + self._dropped - self.position, 0)

    @property
    def rows_used(self) -> int:
        return self._rows

    def _dropped_at(self, length: int) -> int:
        """How many tokens are dropped of a text of `length`."""
        return self._step * max(0, -(-(length - self.shape.context) // self._step))

    def _place(self, row: int) -> int:
        """The place in the text of a row's token."""
        return row if row < self._keep else row + self._dropped

    def plan(self, ids: Sequence[int], need: Need) -> Iterator[Step]:
        start, end = self.position, self.position + len(ids)
        while self.position < end:
            here = self.position
            target = end if need == "last" else min(end, self.shape.context + self._dropped_at(here + 1))
            if self._dropped != self._dropped_at(target):
                self._rows = 0  # first, as an interrupt may come anywhere: fewer rows than there are does no harm
                self._dropped = self._dropped_at(target)
                self.held.forget(0)
            if need == "all":  # what is run again gives no logits
                yield from self._run(here, ids, start, "last", wanted=False)
            yield from self._run(target, ids, start, need, wanted=True)

    def _run(self, target: int, ids: Sequence[int], start: int, need: Need, *, wanted: bool) -> Iterator[Step]:
        """Fills rows until they hold the text's token before `target`."""
        count = target - self._dropped - self._rows
        calls = plan_calls(count, position=self._rows, shape=self.shape, need_logits_of=need, reached=self.reached)
        for call in calls:
            part = [self._token(self._place(row), ids, start) for row in range(call.chunk.slot, call.chunk.end)]
            reached = self._place(call.chunk.end - 1) + 1
            adds = ids[self.position - start : max(reached - start, self.position - start)]
            yield Step(call, part, adds, wanted)

    def _token(self, place: int, ids: Sequence[int], start: int) -> int:
        return self.tokens[place] if place < start else ids[place - start]

    def begin(self, step: Step) -> None:
        self._rows = step.call.chunk.slot
        super().begin(step)

    def finish(self, step: Step) -> None:
        super().finish(step)
        self._rows = step.call.chunk.end

    def rewinds_to(self, position: int) -> bool:
        return True  # what the rows lack is run again

    def rewind(self, position: int) -> None:
        self._rows = min(self._rows, max(min(position, self._keep), position - self._dropped))
        self.held.forget(self._rows)
        del self.tokens[position:]

    def reset(self) -> None:
        self._rows = 0
        self._dropped = 0
        super().reset()

    def _own_layout(self) -> dict[str, int]:
        return {"dropped": self._dropped, "rows": self._rows}

    def _restore(self, tokens: list[int], layout: Mapping[str, Any], rows: int) -> None:
        dropped = layout_number(layout, "dropped", self._dropped_at(len(tokens)))
        held = layout_number(layout, "rows", self.shape.context)
        check_rows_used(rows, held)
        if dropped % self._step or held > max(min(len(tokens), self._keep), len(tokens) - dropped):
            raise UsageError("the snapshot holds rows of tokens that it does not have")
        self.tokens, self._dropped, self._rows = tokens, dropped, held
        self.held.forget(0)
        self.held.positions[:held] = np.arange(held)
