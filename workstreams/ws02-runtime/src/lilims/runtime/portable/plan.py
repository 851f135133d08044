"""What has to be known of a graph to run it: its inputs, outputs and states, and how functions are called as it.

Knows names, types and sizes. Must not know ONNX, how a graph is made (compiler.py) or run (session.py): a graph that
comes from the cache needs this alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .program import Array, Op, TensorType

if TYPE_CHECKING:
    import onnx

    from .lowering.scope import Deferred

__all__ = ["Call", "Graph", "Plan", "Prefix", "Slot"]


@dataclass(frozen=True)
class Slot:
    """A part of a state that the graph reads and perhaps writes: all of it, or one row of its first axis."""

    state: str
    row: int | None
    input: str
    output: str | None


@dataclass(frozen=True)
class Plan:
    """What has to be known of a graph to run it.

    Attributes:
        name: the function's.
        inputs: ONNX name and MIL type of each input of the function, states left out.
        outputs: ONNX name and MIL type of each output.
        slots: what the graph reads and writes of the states.
        checked: the ops behind the elements of the outputs "overflow" and "underflow".
    """

    name: str
    inputs: dict[str, tuple[str, TensorType]]
    outputs: dict[str, tuple[str, TensorType]]
    slots: tuple[Slot, ...]
    checked: tuple[Op, ...]


@dataclass(frozen=True)
class Graph(Plan):
    """A lowered function.

    Attributes:
        model: the ONNX model; its larger initializers are external and carry no bytes.
        weights: those initializers.
    """

    model: onnx.ModelProto
    weights: dict[str, Deferred]


@dataclass(frozen=True)
class Prefix:
    """What decides how many rows a call needs.

    Attributes:
        state: the state that is kept as rows.
        axis: the axis of its rows' places: [1, heads, R, E] has them at 2.
        slot: the input that says where a call writes.
        count: how many places it writes there; as many as there are tokens where their number is open.
        masks: inputs whose last axis says of each place whether it is seen.
        width: the places that the masks are about: all of the state's, or those of a bucket.
    """

    state: str
    axis: int
    slot: str
    count: int
    masks: tuple[str, ...]
    width: int


@dataclass(frozen=True)
class Call:
    """How a function is called as a graph that may stand for others too.

    Attributes:
        every: the graph's inputs that the function lacks, each to be the numbers 0, 1, …, n - 1.
        prefix: what chooses how many places of its cache a call uses; None where it has to be all.
        ops: names of the graph's ops as the function has them.
    """

    every: dict[str, int] = field(default_factory=dict)
    prefix: Prefix | None = None
    ops: dict[str, str] = field(default_factory=dict)

    def tokens(self, feeds: Mapping[str, Array]) -> int:
        """How many tokens a call has: its masks [1, 1, S, R] tell."""
        assert self.prefix is not None
        return int(feeds[self.prefix.masks[0]].shape[-2])

    def takes_any_count(self, inputs: Mapping[str, TensorType]) -> bool:
        """Whether a call may have another number of tokens than the function: the graph leaves it open.

        Args:
            inputs: the graph's.
        """
        prefix = self.prefix
        if prefix is None or not prefix.masks or any(count != prefix.count for count in self.every.values()):
            return False
        return all(inputs[name].shape[-2] is None for name in prefix.masks)
