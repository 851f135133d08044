"""Groups of matrices that take one scheme together, and the schemes that they may take, coarse to fine.

Knows names, shapes and sizes. Must not know what a scheme costs in quality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ..policy.plan import Plan
from ..policy.profiles import ProfileName
from ..quantize.scheme import Method, Scheme, parse_scheme
from ..spec import DecoderSpec
from ..weights.sizes import form_of
from ..weights.tensors import padded

__all__ = ["LADDERS", "Group", "bits_of", "groups_of", "ladder_for", "recipe_text"]

# What each profile's hardware is made for (docs/quantisation.md), each rung with more bits than the one before it.
LADDERS: Mapping[ProfileName, tuple[str, ...]] = {
    "gpu": ("int4-g32", "int4-g16", "lut6-r16", "int8-g32", "fp16"),
    "cpu": ("int4-g32", "int4-g16", "int8-g32", "fp16"),
    "ane": ("lut4-r8", "lut6-r16", "int8-channel", "fp16"),
    "balanced": ("int4-channel", "lut6-r16", "int8-channel", "fp16"),
}


@dataclass(frozen=True)
class Group:
    """Matrices with one scheme. `pattern` is what a recipe calls them."""

    pattern: str
    roles: tuple[str, ...]


def ladder_for(profile: ProfileName, method: Method) -> tuple[Scheme, ...]:
    """The schemes of a profile, rounded in that way."""
    return tuple(parse_scheme(text, method=method) for text in LADDERS[profile])


def groups_of(spec: DecoderSpec, plan: Plan) -> list[Group]:
    """Embedding, each layer's attention and MLP, head; without what stays fp16 and codes that are kept."""
    found: dict[str, list[str]] = {}
    for role, shape in spec.roles():
        if len(shape) != 2 or role in plan.kept or plan.scheme_of(role).kind == "fp16":
            continue
        parts = role.split(".")
        found.setdefault(f"layers.{parts[1]}.{parts[2]}.*" if parts[0] == "layers" else role, []).append(role)
    return [Group(pattern, tuple(roles)) for pattern, roles in found.items()]


def bits_of(spec: DecoderSpec, plan: Plan, schemes: Mapping[str, Scheme]) -> float:
    """Bits of some matrices as they would be stored."""
    shapes = dict(spec.roles())
    total = 0.0
    for role, scheme in schemes.items():
        target = padded(role, shapes[role], plan.multiple_of(role))
        total += form_of(scheme, target).bits * prod(target)
    return total


def recipe_text(groups: Sequence[Group], chosen: Sequence[Scheme], comment: str) -> str:
    """The choice as a recipe (policy/recipe.py). Schemes are written without how they are rounded."""
    names = [_plain(scheme) for scheme in chosen]
    usual = max(sorted(set(names)), key=names.count)
    lines = [f"# {line}" for line in comment.splitlines()] + [f"default: {usual}"]
    others = [(group.pattern, name) for group, name in zip(groups, names, strict=True) if name != usual]
    if others:
        lines += ["tensors:", *(f'  "{pattern}": {name}' for pattern, name in others)]
    return "\n".join(lines) + "\n"


def _plain(scheme: Scheme) -> str:
    return str(scheme).removesuffix(f"-{scheme.method}")
