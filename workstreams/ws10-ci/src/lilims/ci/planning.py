"""Which packages and jobs a change reaches.

    changed file ─┬─ of an area (.ci/jobs.toml) ──────────────────────────────→ jobs of the area
                  ├─ of a package ─→ it, and all that depend on it ─→ jobs of those packages
                  └─ of neither, or under `everything` ───────────────────────→ everything

Knows the rules' form. Must not know a package, a job or a path by name. In doubt everything runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import PlanError
from .globs import matches
from .tree import Tree
from .workspace import Member, dependents, members, part, table, words

__all__ = ["RULES", "Plan", "Rules", "make_plan", "place_of"]

RULES = ".ci/jobs.toml"
_NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)*")  # what may be handed on to a shell: no blank, no option, no metacharacter


@dataclass(frozen=True)
class Rules:
    """What `.ci/jobs.toml` says.

    Attributes:
        everything: patterns of files that reach everything.
        areas: area → patterns of its files.
        area_tests: area → patterns of the tests that read them.
        within: areas whose files are of their packages, too.
        jobs: job → (packages, areas), of which "*" is any.
    """

    everything: tuple[str, ...] = ()
    areas: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    area_tests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    within: frozenset[str] = frozenset()
    jobs: Mapping[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: Tree) -> Rules:
        """The rules of a tree; none where it has no such file, and then all that is of no package reaches everything.

        Raises:
            PlanError: a key or a value is none that is known.
        """
        raw = table(tree, RULES)
        areas = _tables(raw, "areas", {"files", "tests", "within"})
        jobs = _tables(raw, "jobs", {"packages", "areas"})
        if unknown := sorted(raw.keys() - {"everything", "areas", "jobs"}):
            raise PlanError(f"unknown key {unknown[0]!r}", where=RULES)
        for name, one in areas.items():
            if not isinstance(one.get("within", False), bool):
                raise PlanError(f"within of {name} has to be true or false", where=RULES)
        for job, one in jobs.items():
            if not _NAME.fullmatch(job):
                raise PlanError(f"{job!r} is no name for a job", where=RULES)
            if strange := sorted(set(words(one, "areas", RULES)) - areas.keys() - {"*"}):
                raise PlanError(f"the job {job} looks at the area {strange[0]!r}, which is none", where=RULES)
        return cls(
            everything=words(raw, "everything", RULES),
            areas={name: words(one, "files", RULES) for name, one in areas.items()},
            within=frozenset(name for name, one in areas.items() if one.get("within") is True),
            area_tests={name: words(one, "tests", RULES) for name, one in areas.items()},
            jobs={
                name: (frozenset(words(one, "packages", RULES)), frozenset(words(one, "areas", RULES)))
                for name, one in jobs.items()
            },
        )


def _tables(raw: dict[str, Any], key: str, known: set[str]) -> dict[str, dict[str, Any]]:
    found = raw.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise PlanError(f"{key} has to be a table of tables", where=RULES)
    for name, one in found.items():
        if unknown := sorted(one.keys() - known):
            raise PlanError(f"{key}.{name} has an unknown key {unknown[0]!r}", where=RULES)
    return found


@dataclass(frozen=True)
class Plan:
    """What a change needs.

    Attributes:
        everything: why everything runs; empty where it does not.
        packages: reached packages → why.
        areas: touched areas → a file of each.
        jobs: job → whether it runs.
        workstreams: last parts of the folders of the reached packages, sorted.
        folders: those folders, sorted.
        tests: folders and files of tests to run; empty is all.
        pythons: versions of Python to run them on; one where no package is reached.
    """

    everything: str
    packages: Mapping[str, str]
    areas: Mapping[str, str]
    jobs: Mapping[str, bool]
    workstreams: tuple[str, ...]
    folders: tuple[str, ...]
    tests: tuple[str, ...]
    pythons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        reasons = {**{f"area {name}": why for name, why in self.areas.items()}, **self.packages}
        return {
            "everything": self.everything or None,
            "workstreams": list(self.workstreams),
            "folders": list(self.folders),
            "jobs": dict(self.jobs),
            "tests": list(self.tests),
            "pythons": list(self.pythons),
            "reasons": reasons,
        }


def place_of(path: str, rules: Rules, found: Mapping[str, Member]) -> tuple[set[str], str | None]:
    """The areas of a file, and the package that it reaches; neither, where it reaches everything."""
    if any(matches(pattern, path) for pattern in rules.everything):
        return set(), None
    areas = {name for name, files in rules.areas.items() if any(matches(pattern, path) for pattern in files)}
    owners = [one for one in found.values() if path.startswith(f"{one.folder}/")]
    apart = bool(areas - rules.within) or not owners
    return areas, None if apart else max(owners, key=lambda one: len(one.folder)).name


def make_plan(tree: Tree, changed: Iterable[str] | None, why: str = "") -> Plan:
    """What the change of some files needs.

    Args:
        tree: after the change.
        changed: paths with slashes; None is everything.
        why: the reason, where it is everything.

    Raises:
        PlanError: the rules or a pyproject.toml cannot be read.
    """
    rules, found = Rules.of(tree), members(tree)
    areas: dict[str, str] = {}
    touched: dict[str, str] = {}
    for path in sorted(changed if changed is not None else ()):
        of_areas, package = place_of(path, rules, found)
        for area in sorted(of_areas):
            areas.setdefault(area, path)
        if package:
            touched.setdefault(package, path)
        if not of_areas and not package:
            named = any(matches(pattern, path) for pattern in rules.everything)
            why = why or (f"{path} changed" if named else f"{path} is of no package and no area")
    if changed is None or why:
        why = why or "it is not known what has changed"
        touched, areas = dict.fromkeys(found, why), dict.fromkeys(rules.areas, why)
    via = {name: f"depends on {other}" for name, other in dependents(found, touched).items()}
    return _plan(tree, rules, found, why, {**touched, **via}, areas)


def _plan(
    tree: Tree, rules: Rules, found: Mapping[str, Member], why: str, packages: dict[str, str], areas: dict[str, str]
) -> Plan:
    folders = sorted(found[name].folder for name in packages)
    reached = packages.keys() | ({"*"} if packages else set())
    touched = areas.keys() | ({"*"} if areas else set())
    jobs = {
        name: bool(why) or bool(wanted & reached) or bool(looked_at & touched)
        for name, (wanted, looked_at) in rules.jobs.items()
    }
    versions = _pythons(tree)
    return Plan(
        everything=why,
        packages=dict(sorted(packages.items())),
        areas=dict(sorted(areas.items())),
        jobs=jobs,
        workstreams=tuple(sorted(folder.rpartition("/")[2] for folder in folders)),
        folders=_plain(folders),
        tests=() if why or len(packages) == len(found) else _tests(tree, rules, folders, areas),
        pythons=versions if packages or why else versions[:1],
    )


def _tests(tree: Tree, rules: Rules, folders: Iterable[str], areas: Iterable[str]) -> tuple[str, ...]:
    """The tests of packages, those that read what lies in areas, and, with a package, the tests of all together."""
    folders = list(folders)
    patterns = {f"{folder}/tests" for folder in folders} | ({"tests"} if folders else set())
    patterns |= {pattern for area in areas for pattern in rules.area_tests[area]}
    parents = {path.rsplit("/", n)[0] for path in tree.files for n in range(1, path.count("/") + 1)}
    there = {path for path in tree.files | parents if any(matches(pattern, path) for pattern in patterns)}
    least = [path for path in there if not any(path.startswith(f"{other}/") for other in there)]
    return _plain(least)


def _plain(paths: Iterable[str]) -> tuple[str, ...]:
    """Sorted paths that a shell takes for what they are.

    Raises:
        PlanError: one is not.
    """
    paths = sorted(paths)
    for path in paths:
        if not _NAME.fullmatch(path) or path.startswith("-"):
            raise PlanError("cannot be handed on", where=path, hint="letters, digits, dots, dashes, slashes")
    return tuple(paths)


def _pythons(tree: Tree) -> tuple[str, ...]:
    """The versions of Python that hatch.toml tests on, as it lists them."""
    matrix = part(table(tree, "hatch.toml"), "envs.hatch-test", "hatch.toml").get("matrix", [])
    if not isinstance(matrix, list) or not all(isinstance(one, dict) for one in matrix):
        raise PlanError("the matrix of hatch-test has to be a list of tables", where="hatch.toml")
    return tuple(version for one in matrix for version in words(one, "python", "hatch.toml"))
