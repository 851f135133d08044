"""A model that is split into packages, run as one.

Knows which package has which layers and functions, and hands the hidden state from one to the next. Must not know what
runs a package. The parts of a call, for packages of layers [0, a), [a, b), [b, L):

    inputs ──► part 0 ──hidden_out──► hidden: part 1 ──hidden_out──► hidden: part 2 ──► logits
               state 0                        state 1                        state 2

Each range of layers has one state. Where functions lie in packages of their own, several packages work on it in turn:
an executor that can (the portable one) gives all of them the same state, Core ML copies it when another package's turn
comes, as a state belongs to the compiled model that made it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import UsageError
from lilims.core.manifest import Part

from .contract import HIDDEN, HIDDEN_OUT, Interfaces
from .executor import ExecutorFunction, ExecutorName, PackageExecutor

__all__ = ["SplitExecutor", "SplitState"]


@dataclass
class _RangeState:
    """The state of a range of layers, by package. `holder` is the one whose copy is the newest."""

    holder: str = ""
    of: dict[str, Any] = field(default_factory=dict)

    def take(self, package: str, executor: PackageExecutor) -> Any:
        """The package's state with the newest content; it becomes the holder."""
        if not self.holder:
            self.of[package] = executor.make_state()
        elif package != self.holder:
            self.of[package] = executor.adopt(self.of[self.holder], self.of.get(package))
        self.holder = package
        return self.of[package]

    def now(self, first: str, executor: Callable[[str], PackageExecutor]) -> tuple[PackageExecutor, Any]:
        """The newest state and its executor; `first` is the package that makes one where there is none yet."""
        holder = self.holder or first
        return executor(holder), self.take(holder, executor(holder))


class SplitState:
    """The states of a split model, and the lock that makes calls on them take turns."""

    def __init__(self, ranges: set[int]) -> None:
        self.ranges = {first: _RangeState() for first in ranges}
        self.lock = threading.Lock()


@dataclass(frozen=True)
class _Step:
    """One part's share of a function."""

    part: Part
    executor: PackageExecutor
    function: ExecutorFunction
    inputs: frozenset[str]


class _SplitFunction:
    def __init__(self, steps: Sequence[_Step]) -> None:
        self._steps = steps

    def predict(self, inputs: Mapping[str, NDArray[Any]], state: SplitState) -> dict[str, NDArray[Any]]:
        """Runs the parts one after the other.

        Raises:
            ExecutionError: one of them failed.
        """
        values, outputs = dict(inputs), {}
        with state.lock:
            for step in self._steps:
                own = state.ranges[step.part.first_layer].take(step.part.package, step.executor)
                fed = {name: array for name, array in values.items() if name in step.inputs}
                outputs = step.function.predict(fed, own)
                if HIDDEN_OUT in outputs:
                    values[HIDDEN] = outputs[HIDDEN_OUT]
        return outputs


class SplitExecutor:
    """The packages of a split model behind the interface of one.

    Args:
        parts: the model's packages.
        found: their interfaces: what a package does not take is not sent to it.
        open_package: opens one; each is opened once, when a function first needs it.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        found: Mapping[str, Interfaces],
        open_package: Callable[[str], PackageExecutor],
    ) -> None:
        self._parts = parts
        self._interfaces = found
        self._open_package = open_package
        self._opened: dict[str, PackageExecutor] = {}
        self._functions: dict[str, _SplitFunction] = {}
        self._loading = threading.RLock()

    @property
    def name(self) -> ExecutorName:
        return self._executor(self._parts[0].package).name

    @property
    def warms_up(self) -> bool:
        return self._executor(self._parts[0].package).warms_up

    @property
    def pads(self) -> bool:
        return any(self._executor(part.package).pads for part in self._parts)

    def function(self, name: str) -> ExecutorFunction:
        with self._loading:
            if name not in self._functions:
                self._functions[name] = _SplitFunction([self._step(part, name) for part in self._parts_of(name)])
            return self._functions[name]

    def make_state(self) -> SplitState:
        return SplitState({part.first_layer for part in self._parts})

    def read_state(self, state: SplitState, rows: int) -> NDArray[np.float16]:
        """A copy of the first rows of all layers: those of the ranges, one behind the other.

        Raises:
            UsageError, ExecutionError: as `Executor.read_state`.
        """
        with state.lock:
            found = [state.ranges[part.first_layer].now(part.package, self._executor) for part in self._ranges()]
            return np.concatenate([executor.read_state(own, rows) for executor, own in found])

    def write_state(self, state: SplitState, values: NDArray[np.float16]) -> None:
        """Puts values into the first rows of all layers.

        Raises:
            UsageError, ExecutionError: as `Executor.write_state`.
        """
        ranges = self._ranges()
        layers = sum(part.layers for part in ranges)
        if values.ndim != 4 or len(values) != 2 * layers:
            raise UsageError(f"values of {list(values.shape)} do not fit the states of {layers} layers")
        with state.lock:
            for part in ranges:
                executor, own = state.ranges[part.first_layer].now(part.package, self._executor)
                executor.write_state(own, values[2 * part.first_layer : 2 * (part.first_layer + part.layers)])

    def _ranges(self) -> list[Part]:
        """A part of each range of layers, in the order of the layers."""
        first = {part.first_layer: part for part in reversed(self._parts)}
        return [first[layer] for layer in sorted(first)]

    def _parts_of(self, name: str) -> list[Part]:
        return [part for part in self._parts if name in part.functions]

    def _step(self, part: Part, name: str) -> _Step:
        executor = self._executor(part.package)
        taken = frozenset(self._interfaces[part.package][name].inputs)
        return _Step(part, executor, executor.function(name), taken)

    def _executor(self, package: str) -> PackageExecutor:
        with self._loading:
            if package not in self._opened:
                self._opened[package] = self._open_package(package)
            return self._opened[package]
