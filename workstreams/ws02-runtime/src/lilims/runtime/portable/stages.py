"""A pipeline that runs: its members one after the other, and the values that go between them.

Knows names and values. Must not know specifications (pipeline.py), or how a member runs.

    inputs → [ model0 ] → [ model1 ] → … → outputs
             each takes what it needs of everything there is so far; a later value replaces one of its name

Core ML's documentation says nothing of states in pipelines. Here all members keep theirs in one `MLState`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lilims.core.errors import PackageError, UnsupportedError, UsageError

from .buffers import StateBuffers
from .features import FeatureDescriptions, InputFeature, Interface
from .package import Package
from .program import Array, TensorType
from .runnable import Options, open_package
from .runner import FunctionRunner

__all__ = ["Pipeline", "open_pipeline"]


def open_pipeline(package: Package, options: Options) -> Pipeline:
    """The pipeline that a package is.

    Raises:
        PackageError, UnsupportedError: a member cannot be read, or they do not go together.
        UsageError: the options ask for a trace.
    """
    if options.trace is not None:
        raise UsageError("a pipeline cannot be traced", hint="trace its models as packages of their own")
    members = {}
    for name, member in package.members.items():
        opened = open_package(package.path, options, member)
        members[name] = FunctionRunner(opened, opened.default_function)
    return Pipeline(package.spec.description, members)


class Pipeline:
    """A pipeline whose members can run; the attributes are those of a `FunctionRunner`.

    Args:
        description: the pipeline's own.
        members: by name, in order.

    Raises:
        UnsupportedError: two members have a state of one name.
    """

    any_count = False

    def __init__(self, description: Any, members: Mapping[str, FunctionRunner]) -> None:
        self._members = members
        self.states: dict[str, TensorType] = {}
        for name, member in members.items():
            for state, tensor in member.states.items():
                if self.states.setdefault(state, tensor) is not tensor:
                    raise UnsupportedError(f"the pipeline's member {name!r} has a state {state!r}, as another has")
        self.needed = {state: tensor for member in members.values() for state, tensor in member.needed.items()}
        self._inputs = {feature.name: bool(feature.type.isOptional) for feature in description.input}
        self._outputs = [feature.name for feature in description.output]
        self.interface = Interface(
            {},
            FeatureDescriptions(description.input),
            FeatureDescriptions(description.output),
            FeatureDescriptions([SimpleNamespace(name=name, shortDescription="") for name in self.states]),
            {},
        )

    @property
    def overflows(self) -> list[str]:
        return [f"{name}/{op}" for name, member in self._members.items() for op in member.overflows]

    @property
    def underflows(self) -> dict[str, float]:
        found = {name: member.underflows for name, member in self._members.items()}
        return {f"{name}/{op}": share for name, shares in found.items() for op, share in shares.items()}

    def load(self) -> None:
        for member in self._members.values():
            member.load()

    def end_trace(self) -> Path:
        raise UsageError("a pipeline cannot be traced")

    def predict(
        self, data: Mapping[str, Any], states: StateBuffers | None, time_limit: float | None = None
    ) -> dict[str, Any]:
        """Runs the members in order, each within the time limit; see `MLModel.predict`.

        Raises:
            UsageError: an input is missing, unknown or does not fit.
            PackageError: what a member gives does not fit the one that takes it.
            ExecutionError: a program failed.
        """
        self._check(data)
        values: dict[str, Any] = dict(data)
        made: dict[str, str] = {}
        for name, member in self._members.items():
            given = {}
            for feature, wanted in member.interface.inputs.items():
                if feature in made:
                    given[feature] = _passed(wanted, values[feature], made[feature], name)
                elif feature in values:
                    given[feature] = values[feature]
            results = member.predict(given, states if member.needed else None, time_limit)
            values.update(results)
            made.update(dict.fromkeys(results, name))
        return {name: values[name] for name in self._outputs if name in values}

    def _check(self, data: Mapping[str, Any]) -> None:
        for name in data:
            if name not in self._inputs:
                known = ", ".join(self._inputs) or "none"
                raise UsageError(f"there is no input {name!r}", hint=f"the inputs are {known}")
        for name, optional in self._inputs.items():
            if name not in data and not optional:
                raise UsageError(f"the input {name!r} is missing")


def _passed(feature: InputFeature, value: Any, giver: str, taker: str) -> Array:
    try:
        return feature.convert(value)
    except UsageError as exc:
        raise PackageError(f"what the pipeline's member {giver!r} gives does not fit {taker!r}: {exc.message}") from exc
