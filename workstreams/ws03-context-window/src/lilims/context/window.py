"""The tokens of a text and which of them the state holds: what a session plans with.

Knows tokens, positions and rows. Must not know executors, or how a policy works (ring.py, shift.py).

A window is used like this, and may be left at any point: what was not finished counts as not done.

    for step in window.plan(ids, "last"):
        inputs = window.inputs.build(step.call, step.ids)
        window.begin(step)
        …                           the call runs
        window.finish(step)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lilims.core.errors import UsageError

from .plan import Call, DecoderShape, StepInputs
from .policy import ContextPolicy
from .rows import StateRows

__all__ = ["ContextWindow", "Need", "Step", "open_window"]

Need = Literal["last", "all"]


@dataclass(frozen=True, slots=True)
class Step:
    """A call and what it means.

    Attributes:
        ids: the tokens of the call's chunk.
        adds: the tokens that the text is longer by when the call is done.
        wanted: whether the call's logits are of tokens that were asked for; others are run again.
    """

    call: Call
    ids: Sequence[int]
    adds: Sequence[int]
    wanted: bool = True


class ContextWindow(ABC):
    """A text of any length over a state of fixed rows.

    Attributes:
        shape: what can be called.
        policy: what happens when the context is full.
        tokens: the whole text since it was empty, in order. Tokens that the state has dropped are still in this list,
            as what later tokens hold depends on them.
        reached: how many of the first rows were ever in use, also of texts that are forgotten.
        held: what the rows hold.
        inputs: builds the inputs of the calls.
    """

    def __init__(self, shape: DecoderShape, policy: ContextPolicy, *, keep: int = 0) -> None:
        self.shape = shape
        self.policy = policy
        self.tokens: list[int] = []
        self.reached = 0
        self.held = StateRows(shape.rows)
        self.inputs = StepInputs(shape, self.held, keep=keep)

    @property
    def position(self) -> int:
        """How many tokens the text has."""
        return len(self.tokens)

    @property
    def room(self) -> int | None:
        """How many more tokens are taken; None is any number."""
        return None

    @property
    @abstractmethod
    def undoable(self) -> int:
        """How many tokens can be written and taken back, and what the state held before is still there."""

    @property
    @abstractmethod
    def rows_used(self) -> int:
        """The first rows of the state that matter."""

    @abstractmethod
    def plan(self, ids: Sequence[int], need: Need) -> Iterator[Step]:
        """The steps that write `ids` behind the text. Each is to be finished before the next one is asked for.

        Args:
            need: "last": the last step's logits are of the last id; "all": the wanted steps' are of every id.

        Raises:
            ContextOverflowError: they do not fit, and the policy drops nothing.
        """

    @abstractmethod
    def rewinds_to(self, position: int) -> bool:
        """Whether the text can be cut to `position` tokens with what the state holds, exactly."""

    @abstractmethod
    def rewind(self, position: int) -> None:
        """Cuts the text to `position` tokens.

        Raises:
            TokensGoneError: the state has dropped tokens that this needs; nothing was changed.
        """

    def begin(self, step: Step) -> None:
        """The step is about to run."""
        self.held.begin(step.call.chunk)

    def finish(self, step: Step) -> None:
        """The step is done."""
        chunk = step.call.chunk
        self.held.finish(chunk)
        self.reached = max(self.reached, chunk.slot + chunk.count)
        self.tokens.extend(step.adds)

    def reset(self) -> None:
        """Empties the text."""
        self.tokens.clear()
        self.held.forget(0)

    def layout(self) -> dict[str, Any]:
        """What the rows mean, as JSON: with the first `rows_used` rows of the state it is all that the window knows."""
        policy = {"kind": self.policy.kind, "keep": self.policy.keep}
        return {"policy": policy, "tokens": list(self.tokens), **self._own_layout()}

    def restore(self, layout: Mapping[str, Any], rows: int) -> None:
        """Takes over what `layout` says of `rows` rows.

        Raises:
            UsageError: it is not a layout of this shape and policy; nothing was changed.
        """
        tokens = layout.get("tokens")
        if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
            raise _bad("tokens")
        if layout.get("policy") != {"kind": self.policy.kind, "keep": self.policy.keep}:
            raise UsageError(
                f"the snapshot was made under another context policy: {layout.get('policy')}",
                hint=f"this session's is {self.policy.kind!r}, keeping {self.policy.keep}",
            )
        self._restore(list(tokens), layout, rows)
        self.reached = max(self.reached, rows)

    @abstractmethod
    def _own_layout(self) -> dict[str, int]:
        """What the policy adds to the layout."""

    @abstractmethod
    def _restore(self, tokens: list[int], layout: Mapping[str, Any], rows: int) -> None:
        """Checks everything, then changes everything."""


def _bad(name: str) -> UsageError:
    return UsageError(f"the snapshot's {name} do not fit this model", hint="it was made by another model or is damaged")


def layout_number(layout: Mapping[str, Any], name: str, largest: int) -> int:
    """A whole number of a layout, from 0 to `largest`.

    Raises:
        UsageError: it is none.
    """
    value = layout.get(name)
    if type(value) is not int or not 0 <= value <= largest:
        raise _bad(name)
    return value


def check_rows_used(rows: int, wanted: int) -> None:
    """Refuses a layout that needs another number of rows than came with it.

    Raises:
        UsageError: it does.
    """
    if rows != wanted:
        raise _bad(f"rows ({rows} instead of {wanted})")


def open_window(shape: DecoderShape, policy: ContextPolicy | None = None) -> ContextWindow:
    """A window over an empty state.

    Raises:
        UnsupportedError: the model cannot follow the policy.
        UsageError: the policy keeps more tokens than the context has.
    """
    from .ring import RingWindow
    from .shift import ShiftWindow

    policy = policy or ContextPolicy.error()
    return (ShiftWindow if policy.kind == "shift" else RingWindow)(shape, policy)
