"""Whether the versions of a repository agree: packages, the umbrella's pins and extras, the changelog, the tag.

Knows pyproject.toml, Keep a Changelog's form and tags `vX.Y.Z`. Must not know a package by name, nor how one is built.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .tree import Tree
from .workspace import Member, members, part, table, words

__all__ = ["CHANGELOG", "Finding", "check_release", "version_of"]

CHANGELOG = "CHANGELOG.md"
# What a released version looks like: PEP 440 in its normal form, without a local part.
_VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}((a|b|rc)(0|[1-9]\d*))?")
_HEADING = re.compile(r"## \[?(?P<version>[^\]\s]+)\]?(?: - (?P<date>\S+))?\s*")


@dataclass(frozen=True)
class Finding:
    """Something that does not agree: the file, and what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def version_of(tree: Tree) -> str:
    """The version of the umbrella, which is the root's project; empty where it has none."""
    return str(part(table(tree, "pyproject.toml"), "project", "pyproject.toml").get("version", ""))


def check_release(
    tree: Tree, *, tag: str | None = None, running: str | None = None, today: datetime.date | None = None
) -> list[Finding]:
    """What does not agree; empty where a release may be made.

    Args:
        tag: the tag that is released; None checks a tree between releases.
        running: what `lilims --version` says; None leaves that out.
        today: no section of the changelog may have a later date (default: tomorrow, as there are time zones).

    Raises:
        PlanError: a pyproject.toml cannot be read.
    """
    found, version = members(tree), version_of(tree)
    findings = [*_versions(found, version), *_umbrella(tree, found, version)]
    findings += _changelog(tree.read(CHANGELOG), version, tag is not None, today)
    if tag is not None and tag != f"v{version}":
        findings.append(
            Finding("pyproject.toml", f"has version {version}, and the tag is {tag}: it has to be v{version}")
        )
    if running is not None and running != version:
        findings.append(Finding("pyproject.toml", f"has version {version}, and `lilims --version` says {running}"))
    return findings


def _versions(found: Mapping[str, Member], version: str) -> Iterator[Finding]:
    if not _VERSION.fullmatch(version):
        yield Finding("pyproject.toml", f"version {version!r} is not of the form 1.2.3, 1.2.3a1, 1.2.3b1 or 1.2.3rc1")
    for one in found.values():
        if one.version != version:
            yield Finding(f"{one.folder}/pyproject.toml", f"{one.name} has version {one.version}, lilims has {version}")


def _umbrella(tree: Tree, found: Mapping[str, Member], version: str) -> Iterator[Finding]:
    """The umbrella pins every package, and for each extra those that have it."""
    project = part(table(tree, "pyproject.toml"), "project", "pyproject.toml")
    pinned = words(project, "dependencies", "pyproject.toml")
    yield from _compare("dependencies", pinned, {f"{name}=={version}" for name in found})
    wanted: dict[str, set[str]] = {}
    for one in found.values():
        for extra in one.extras:
            wanted.setdefault(extra, set()).add(f"{one.name}[{extra}]=={version}")
    declared = part(project, "optional-dependencies", "pyproject.toml")
    for extra in sorted(wanted.keys() | declared.keys()):
        yield from _compare(f"the extra {extra}", words(declared, extra, "pyproject.toml"), wanted.get(extra, set()))


def _compare(where: str, lines: Iterable[str], wanted: set[str]) -> Iterator[Finding]:
    there = {"".join(line.split()) for line in lines}
    yield from (Finding("pyproject.toml", f"{where} of lilims lacks {one}") for one in sorted(wanted - there))
    yield from (Finding("pyproject.toml", f"{where} of lilims has {one} too many") for one in sorted(there - wanted))


def _changelog(text: str, version: str, released: bool, today: datetime.date | None) -> Iterator[Finding]:
    """A release has a dated section on top (under an empty `Unreleased`, if that is there), and something in it."""
    sections = _sections(text)
    names = [name for name, _date, _body in sections]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding(CHANGELOG, f"has two sections {name}")
    if not released:
        if not names or names[0] not in ("Unreleased", version):
            yield Finding(CHANGELOG, f"begins with neither ## Unreleased nor ## {version}")
        return
    if names and names[0] == "Unreleased":
        if sections[0][2]:
            yield Finding(CHANGELOG, f"has entries under Unreleased: they belong to ## {version} - DATE")
        sections = sections[1:]
    if not sections or sections[0][0] != version:
        yield Finding(CHANGELOG, f"has no section ## {version} - DATE on top")
        return
    _name, date, body = sections[0]
    try:
        day = datetime.date.fromisoformat(date or "")
    except ValueError:
        yield Finding(CHANGELOG, f"the section {version} has no date of the form 2026-01-31")
    else:
        if day > (today or datetime.date.today() + datetime.timedelta(days=1)):
            yield Finding(CHANGELOG, f"the section {version} is of {day}, which is yet to come")
    if not body:
        yield Finding(CHANGELOG, f"the section {version} is empty")


def _sections(text: str) -> list[tuple[str, str | None, bool]]:
    """(name, date, whether there are entries) of each section, from the top."""
    found: list[tuple[str, str | None, bool]] = []
    for line in text.splitlines():
        if line.startswith("## "):
            match = _HEADING.fullmatch(line)
            found.append((match["version"], match["date"], False) if match else (line[3:].strip(), None, False))
        elif found and line.startswith(("-", "*")):
            found[-1] = (*found[-1][:2], True)
    return found
