"""A model of several packages, described as one.

Knows which package has which layers and functions. Must not know how packages are read or drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lilims.core.manifest import Manifest

    from ..portable.describe import FunctionInfo, PackageInfo, WeightGroup

__all__ = ["merged", "parts_as_dicts"]


def merged(manifest: Manifest, infos: Mapping[str, PackageInfo], path: str) -> PackageInfo:
    """The packages of a split model as if they were one.

    Functions have the inputs of all their parts and the operators of all together; the state is the whole model's;
    weights that packages of the same layers share are counted once.

    Args:
        infos: by name of the package, every one of the manifest.
    """
    from dataclasses import replace

    first = infos[manifest.package]
    if not manifest.parts:
        return first
    functions = tuple(_function(manifest, infos, name) for name in manifest.functions)
    groups: dict[str, WeightGroup] = {}
    for info in _of_layers(manifest, infos):
        for group in info.weights:
            so_far = groups.get(group.scheme)
            groups[group.scheme] = group if so_far is None else _sum(so_far, group)
    weights = tuple(sorted(groups.values(), key=lambda group: -group.bytes))
    return replace(first, path=path, functions=functions, weights=weights)


def parts_as_dicts(manifest: Manifest, infos: Mapping[str, PackageInfo]) -> list[dict[str, Any]]:
    """The parts with their sizes, as JSON and the drawn table have them."""
    sizes = {name: {"weight_bytes": i.weight_bytes, "state_bytes": i.state_bytes} for name, i in infos.items()}
    return [{**part.model_dump(), **sizes[part.package]} for part in manifest.parts]


def _of_layers(manifest: Manifest, infos: Mapping[str, PackageInfo]) -> list[PackageInfo]:
    """One package for each range of layers."""
    found: dict[int, PackageInfo] = {}
    for part in manifest.parts:
        found.setdefault(part.first_layer, infos[part.package])
    return list(found.values())


def _function(manifest: Manifest, infos: Mapping[str, PackageInfo], name: str) -> FunctionInfo:
    from dataclasses import replace

    packages = [infos[part.package] for part in manifest.parts if name in part.functions]
    functions = [function for info in packages for function in info.functions if function.name == name]
    first, last = functions[0], functions[-1]
    begins = {feature.name for feature in first.inputs}
    inputs = {feature.name: feature for f in reversed(functions) for feature in f.inputs if feature.name != "hidden"}
    inputs |= {feature.name: feature for feature in first.inputs}
    order = sorted(inputs, key=lambda key: key not in begins)
    ops: Counter[str] = Counter()
    for function in functions:
        ops.update(function.ops)
    states = tuple(replace(state, shape=tuple(manifest.state.shape)) for state in first.states)
    return replace(
        first,
        inputs=tuple(inputs[key] for key in order),
        outputs=last.outputs,
        states=states,
        ops=dict(ops.most_common()),
    )


def _sum(one: WeightGroup, other: WeightGroup) -> WeightGroup:
    from dataclasses import replace

    return replace(
        one,
        tensors=one.tensors + other.tensors,
        parameters=one.parameters + other.parameters,
        bytes=one.bytes + other.bytes,
    )
