"""The packages of a repository and who depends on whom, as their pyproject.toml files declare it.

Knows uv's workspace and PEP 621. Must not know a package by name, nor what is to be done for one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import PlanError
from .globs import matches
from .tree import Tree

__all__ = ["Member", "dependents", "members", "part", "table", "words"]


@dataclass(frozen=True)
class Member:
    """A distribution of the workspace.

    Attributes:
        name: normalised, as in `lilims-core`.
        folder: relative to the root, with slashes.
        version: as declared; empty where it is not.
        requirements: what it declares as dependencies, whole lines.
        extras: name → whole lines.
    """

    name: str
    folder: str
    version: str
    requirements: tuple[str, ...]
    extras: Mapping[str, tuple[str, ...]]


def table(tree: Tree, path: str) -> dict[str, Any]:
    """A TOML file of the tree; empty where there is none.

    Raises:
        PlanError: it is no TOML.
    """
    try:
        return tomllib.loads(tree.read(path))
    except tomllib.TOMLDecodeError as exc:
        raise PlanError(f"not valid TOML: {exc}", where=path, hint="mend the file") from exc


def part(raw: dict[str, Any], keys: str, where: str) -> dict[str, Any]:
    """The table within a table that dotted keys lead to; empty where there is none.

    Raises:
        PlanError: what stands there is no table.
    """
    found: Any = raw
    for key in keys.split("."):
        found = found.get(key, {})
        if not isinstance(found, dict):
            raise PlanError(f"{keys} has to be a table", where=where, hint="mend the file")
    return dict(found)


def words(raw: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    """A list of strings in a table; empty where there is none.

    Raises:
        PlanError: it is something else.
    """
    found = raw.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise PlanError(f"{key} has to be a list of strings", where=where, hint="mend the file")
    return tuple(found)


def members(tree: Tree) -> dict[str, Member]:
    """Name → member, for every folder that the root's `tool.uv.workspace.members` means.

    Raises:
        PlanError: a pyproject.toml cannot be read, or two have one name.
    """
    workspace = part(table(tree, "pyproject.toml"), "tool.uv.workspace", "pyproject.toml")
    globs = words(workspace, "members", "pyproject.toml")
    found: dict[str, Member] = {}
    for path in sorted(tree.files):
        folder, _, file = path.rpartition("/")
        if file == "pyproject.toml" and any(matches(glob, folder) for glob in globs):
            project = part(table(tree, path), "project", path)
            if not project.get("name"):
                continue
            extras = part(project, "optional-dependencies", path)
            one = Member(
                name=_normal(str(project["name"])),
                folder=folder,
                version=str(project.get("version", "")),
                requirements=words(project, "dependencies", path),
                extras={key: words(extras, key, path) for key in extras},
            )
            if one.name in found:
                raise PlanError(f"{one.name} is also the name of {found[one.name].folder}", where=path)
            found[one.name] = one
    return found


def _normal(requirement: str) -> str:
    """The name of the distribution that a requirement asks for, normalised."""
    name = re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def dependents(found: Mapping[str, Member], names: Iterable[str]) -> dict[str, str]:
    """Everything that depends on the members `names`, at any distance → the one that it depends on on the way there.

    Requirements of extras count: the tests of a package use them. The members `names` themselves are left out.
    """
    needs = {
        one.name: {_normal(line) for line in (*one.requirements, *(x for lines in one.extras.values() for x in lines))}
        for one in found.values()
    }
    waiting, start = sorted(names), set(names)
    via: dict[str, str] = {}
    while waiting:
        name = waiting.pop(0)
        for other in sorted(found):
            if name in needs[other] and other not in start and other not in via:
                via[other] = name
                waiting.append(other)
    return via
