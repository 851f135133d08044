"""Pipelines in a specification: models of one package, of which each takes by name what the earlier ones give.

Knows the rules for members, names and links. Must not know programs or how they run (stages.py does).

The rules are those of Core ML's own check: coremltools, `mlmodel/src/Validation/PipelineValidator.cpp`, and
`Model.proto` for the members' names. Other than there, an optional input of a member may come from nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lilims.core.errors import PackageError, UnsupportedError

__all__ = ["PIPELINES", "own_description", "read_members"]

PIPELINES = ("pipeline", "pipelineClassifier", "pipelineRegressor")
_MOST = 256  # members; real pipelines have a handful


def read_members(spec: Any, where: str) -> dict[str, Any]:
    """The models of a pipeline by name, each an ML Program that finds its inputs before it.

    Args:
        spec: a `Model` message that is a pipeline.
        where: what errors name.

    Raises:
        PackageError: the pipeline contradicts itself.
        UnsupportedError: a member is something else than an ML Program, or can be trained.
    """
    kind = spec.WhichOneof("Type")
    pipeline = spec.pipeline if kind == "pipeline" else getattr(spec, kind).pipeline
    count, given = len(pipeline.models), [str(name) for name in pipeline.names]
    if not 0 < count <= _MOST:
        raise PackageError(f"the pipeline has {count} models", where=where, hint=f"1 to {_MOST} can be run")
    names = given or [f"model{i}" for i in range(count)]
    if len(names) != count or len(set(names)) != count:
        raise PackageError(f"the pipeline's {count} models have the names {given}", where=where)
    members = dict(zip(names, pipeline.models, strict=True))
    for name, member in members.items():
        _check_kind(member, name, where)
    if spec.isUpdatable:
        raise UnsupportedError("the pipeline can be trained (isUpdatable)", where=where)
    _check_links(spec.description, members, where)
    return members


def _check_kind(member: Any, name: str, where: str) -> None:
    kind = member.WhichOneof("Type")
    if kind is None:
        raise PackageError(f"the pipeline's member {name!r} holds no model", where=where)
    if kind != "mlProgram":
        what = "a pipeline itself" if kind in PIPELINES else f"a {kind} model"
        raise UnsupportedError(
            f"the pipeline's member {name!r} is {what}, not an ML Program",
            where=where,
            hint="only ML Programs run here",
        )
    if member.isUpdatable:
        raise UnsupportedError(f"the pipeline's member {name!r} can be trained (isUpdatable)", where=where)


def _check_links(description: Any, members: Mapping[str, Any], where: str) -> None:
    """Every input is there before the member that takes it, every output at the end, each of the same kind."""
    known = _kinds(description.input, "the pipeline", where)
    for name, member in members.items():
        own = own_description(member)
        wanted = _kinds(own.input, f"the member {name!r}", where)
        optional = {feature.name for feature in own.input if feature.type.isOptional}
        for feature, kind in wanted.items():
            if feature not in known and feature not in optional:
                raise PackageError(
                    f"the input {feature!r} of the pipeline's member {name!r} comes from nowhere",
                    where=where,
                    hint="it has to be an input of the pipeline or an output of a member before",
                )
            _check_same(feature, kind, known.get(feature, kind), f"the pipeline's member {name!r}", where)
        known.update(_kinds(own.output, f"the member {name!r}", where))
    for feature, kind in _kinds(description.output, "the pipeline", where).items():
        if feature not in known:
            raise PackageError(f"no member of the pipeline gives its output {feature!r}", where=where)
        _check_same(feature, kind, known[feature], "the pipeline's output", where)


def _check_same(feature: str, kind: str, found: str, who: str, where: str) -> None:
    if kind != found:
        raise PackageError(f"{feature!r} is of kind {found}, {who} says {kind}", where=where)


def _kinds(features: Any, whose: str, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for feature in features:
        if feature.name in found:
            raise PackageError(f"{whose} describes {feature.name!r} twice", where=where)
        found[feature.name] = str(feature.type.WhichOneof("Type"))
    return found


def own_description(member: Any) -> Any:
    """A model's inputs and outputs: those of its default function where it has several."""
    functions = {function.name: function for function in member.description.functions}
    if not functions:
        return member.description
    default = member.description.defaultFunctionName or "main"
    return functions.get(default) or next(iter(functions.values()))
