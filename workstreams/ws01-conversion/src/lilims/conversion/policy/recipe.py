"""Recipes: a YAML file that says which tensors take which scheme.

    group_size: 64                    # of integer schemes that name no group
    default: int4                     # every matrix that no line below names
    tensors:                          # a glob of roles or of the checkpoint's tensor names; the first match counts
      embedding: int8
      "layers.[01].*": int4-g16
      "model.layers.*.mlp.down_proj.weight": lut6-r16

Knows the file's form. Must not know which tensors a model has (plan.py).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from pathlib import Path
from typing import Any

from lilims.core.errors import InputError
from lilims.core.strict_yaml import Document, parse

from ..quantize.scheme import GRAMMAR, GROUP_SIZES, Method, Scheme, parse_scheme

__all__ = ["Recipe", "Rule", "read_recipe"]

_KEYS = ("group_size", "default", "tensors")
_HINT = f"a recipe has the keys {', '.join(_KEYS)}; see docs/quantisation.md"


@dataclass(frozen=True)
class Rule:
    """A glob and the scheme of what it matches; `where` is the file and line that it stands on."""

    pattern: str
    scheme: Scheme
    where: str

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(translate(self.pattern))

    def matches(self, *names: str) -> bool:
        """Whether any of a tensor's names is what the glob means; `*` also takes dots, and case counts."""
        return any(self._expression.match(name) for name in names)


@dataclass(frozen=True)
class Recipe:
    """What a recipe says, and the SHA-256 of its file."""

    rules: tuple[Rule, ...]
    default: Scheme | None
    group_size: int | None
    sha256: str


def read_recipe(path: Path, group_size: int, method: Method = "rtn") -> Recipe:
    """Reads a recipe.

    Args:
        path: the file.
        group_size: of integer schemes that name no group, unless the recipe has a group size of its own.
        method: of integer schemes that name none.

    Raises:
        InputError: the file is absent, no plain YAML, or says what no recipe can; `where` has its line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(1 << 20)
    except OSError as exc:
        raise InputError(f"cannot be read: {exc.strerror}", where=path, hint="--recipe names a YAML file") from exc
    try:
        document = parse(data, path)
    except InputError as exc:
        raise InputError(exc.message, where=exc.where, hint=exc.hint or _HINT) from exc
    values: Any = document.value
    if not isinstance(values, dict):
        raise InputError("is not a mapping", where=f"{path}:1", hint=_HINT)
    for key in values:
        if key not in _KEYS:
            raise InputError(f"unknown key {key!r}", where=_at(path, document, key), hint=_HINT)
    own = values.get("group_size")
    if own is not None and (type(own) is not int or own not in GROUP_SIZES):
        sizes = ", ".join(map(str, GROUP_SIZES))
        raise InputError(
            f"'group_size' must be one of {sizes}, not {own!r}", where=_at(path, document, "group_size"), hint=_HINT
        )
    tensors = values.get("tensors")
    if tensors is not None and not isinstance(tensors, dict):
        raise InputError("'tensors' must map globs to schemes", where=_at(path, document, "tensors"), hint=_HINT)
    size = own or group_size
    default = (
        None if "default" not in values else _scheme(values["default"], size, method, _at(path, document, "default"))
    )
    rules = []
    for pattern, value in (tensors or {}).items():
        where = _at(path, document, "tensors", pattern)
        rules.append(Rule(pattern, _scheme(value, size, method, where), where))
    return Recipe(tuple(rules), default, own, hashlib.sha256(data).hexdigest())


def _scheme(value: Any, group_size: int, method: Method, where: str) -> Scheme:
    try:
        return parse_scheme(str(value), group_size, method)
    except ValueError as exc:
        raise InputError(str(exc), where=where, hint=f"schemes: {GRAMMAR}") from exc


def _at(path: Path, document: Document, *keys: str) -> str:
    return f"{path}:{document.line(keys)}"
