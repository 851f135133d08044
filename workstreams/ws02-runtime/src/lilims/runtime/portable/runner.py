"""A function that users' values go into and come out of: features around a graph that runs.

Knows how inputs become what a graph takes, and what its results become. Must not know where states are kept (model.py
does), protobuf fields, lowerings or ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lilims.core.errors import UsageError

from .buffers import StateBuffers
from .features import read_interface
from .images import write_image
from .program import Array, Constant, Function, Op, Ref, StateType, TensorType
from .runnable import Runnable, Runnables

__all__ = ["FunctionRunner", "find_function"]


class FunctionRunner:
    """One function of a package.

    Args:
        opened: the package's functions.
        name: the function's.
        any_count: take fewer or more tokens than it has, where its graph leaves their number open.

    Attributes:
        interface: what it takes and gives.
        states: the states of all functions of the package, and their types.
        needed: those that this function has.
        any_count, overflows, underflows: as in `MLModel`.

    Raises:
        UsageError: there is no such function, or functions disagree on a state.
        PackageError, UnsupportedError: as `read_interface`.
    """

    def __init__(self, opened: Runnables, name: str, *, any_count: bool = False) -> None:
        function = find_function(opened.functions, name)
        self._opened, self._name = opened, name
        self._runnable: Runnable | None = None
        self.interface = read_interface(opened.package.spec, function)
        free = opened.free_inputs(name) if any_count else {}
        self.any_count = bool(free)
        if free:
            inputs = {key: feature.up_to(free[key]) for key, feature in self.interface.inputs.items()}
            self.interface = replace(self.interface, inputs=inputs)
        self.needed = {v.name: v.type.tensor for v in function.inputs if isinstance(v.type, StateType)}
        self.overflows: list[str] = []
        self.underflows: dict[str, float] = {}

    @property
    def states(self) -> dict[str, TensorType]:
        types: dict[str, TensorType] = {}
        for function in self._opened.functions.values():
            for value in function.inputs:
                if isinstance(value.type, StateType) and types.setdefault(value.name, value.type.tensor) != (
                    value.type.tensor
                ):
                    raise UsageError(f"functions disagree on the state {value.name!r}")
        return types

    def load(self) -> Runnable:
        """The graph; it is opened when first asked for."""
        if self._runnable is None:
            self._runnable = self._opened.runnable(self._name)
        return self._runnable

    def end_trace(self) -> Path:
        return self.load().end_trace()

    def predict(
        self, data: Mapping[str, Any], states: StateBuffers | None, time_limit: float | None = None
    ) -> dict[str, Any]:
        """Runs once; see `MLModel.predict`.

        Args:
            states: of a function that has states, where they are kept.
        """
        arrays = self.interface.convert(data)
        runnable = self.load()
        results, checks = runnable.executable.run(arrays, states, runnable.call, time_limit)
        if checks:
            self.overflows = _overflows(runnable, checks[0], arrays)
            shares = zip(runnable.plan.checked, checks[1], strict=True)
            found = {runnable.own_name(op): float(share) for op, share in shares if share > 0}
            self.underflows = {name: share for name, share in found.items() if name is not None}
        images = self.interface.images
        return {
            name: write_image(result, images[name], name) if name in images else _given(result)
            for name, result in zip(runnable.plan.outputs, results, strict=True)
        }


def find_function(functions: Mapping[str, Function], name: str) -> Function:
    """A function of a package by its name.

    Raises:
        UsageError: there is none; the hint names those that there are.
    """
    if name not in functions:
        raise UsageError(f"the package has no function {name!r}", hint=f"its functions are {', '.join(functions)}")
    return functions[name]


def _given(result: Any) -> Any:
    """A result as `predict` gives it: a classifier's dictionary, its label as a str or an int, or an array."""
    if isinstance(result, list):
        return result[0]
    if result.ndim == 0 and result.dtype in (np.object_, np.int64):
        return result.item()
    return np.atleast_1d(result)


def _overflows(runnable: Runnable, values: Array, inputs: Mapping[str, Array]) -> list[str]:
    """Names of the ops where a value that is not finite came up first, in the function's order."""
    if np.isfinite(values).all():
        return []
    function, graph = runnable.lowered_function, runnable.plan
    bad = {name for name, array in inputs.items() if not np.isfinite(array).all()}
    flagged = [op for op, value in zip(graph.checked, values, strict=True) if not np.isfinite(value)]
    bad |= {output.name for op in flagged for output in op.outputs}
    literals = {op.outputs[0].name: op.inputs["val"][0] for op in function.ops if op.type == "const"}

    def takes_infinity(op: Op) -> bool:
        arguments = [a for given in op.inputs.values() for a in given]
        return any(
            a.name in bad or _infinite(literals.get(a.name)) if isinstance(a, Ref) else _infinite(a) for a in arguments
        )

    names = [runnable.own_name(op) for op in flagged if not takes_infinity(op)]
    return list(dict.fromkeys(name for name in names if name is not None))


def _infinite(argument: Constant | Ref | None) -> bool:
    if not isinstance(argument, Constant) or not argument.type.is_float:
        return False
    return not np.isfinite(argument.load()).all()
