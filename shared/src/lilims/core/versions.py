"""Semantic versions and ranges of them, as models have: `1.2.0`, `^1.2`, `>=1 <3`, `1.x || 2.0.0-rc.1`.

Knows semver.org 2.0.0 and the ranges of node-semver, the notation that most people know. Must not know what has a
version. (What a model asks of lilims itself, `compatible_runtime`, is a Python range: PEP 440.)

    1.2.3      exactly that             ^1.2.3   >=1.2.3 <2.0.0  (^0.2.3: <0.3.0)      >=1.2 <3   both
    1, 1.x     >=1.0.0 <2.0.0           ~1.2.3   >=1.2.3 <1.3.0                        1 || 3     either
    *, latest  any version
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from .errors import UsageError

__all__ = ["VERSION", "Range", "Version"]

_NUMBER = r"(?:0|[1-9][0-9]{0,8})"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
VERSION = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_IDENTIFIERS})?(?:\+{_IDENTIFIERS})?"  # a regular expression
"""A regular expression: a version by semver.org."""
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-(?P<pre>{_IDENTIFIERS}))?(?:\+(?P<build>{_IDENTIFIERS}))?"
)
_PART = rf"(?:{_NUMBER}|[xX*])"
_COMPARATOR = re.compile(
    rf"(?P<op>[<>]=?|=|\^|~)?\s*v?(?P<major>{_PART})(?:\.(?P<minor>{_PART})(?:\.(?P<patch>{_PART})"
    rf"(?:-(?P<pre>{_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?)?)?"
)
_LONGEST = 200  # characters of a version or a range


@total_ordering
@dataclass(frozen=True, eq=False)
class Version:
    """A version. Build metadata (after +) counts neither in comparisons nor in ranges."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()
    build: str = ""

    @classmethod
    def parse(cls, text: str) -> Version:
        """Reads `MAJOR.MINOR.PATCH[-PRE][+BUILD]`.

        Raises:
            UsageError: it is not that.
        """
        found = _VERSION.fullmatch(text) if len(text) <= _LONGEST else None
        if found is None:
            raise UsageError(f"{text!r} is not a version", hint="a version is MAJOR.MINOR.PATCH, such as 1.2.0")
        pre = tuple(found["pre"].split(".")) if found["pre"] else ()
        return cls(int(found[1]), int(found[2]), int(found[3]), pre, found["build"] or "")

    @property
    def core(self) -> tuple[int, int, int]:
        """Major, minor and patch, without what follows them."""
        return (self.major, self.minor, self.patch)

    def _key(self) -> tuple[object, ...]:
        """Precedence of semver.org, item 11: a pre-release is below its version, numbers are below words."""
        parts = tuple((0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in self.pre)
        return (self.core, not self.pre, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __lt__(self, other: Version) -> bool:
        return bool(self._key() < other._key())

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        return text + (f"-{'.'.join(self.pre)}" if self.pre else "") + (f"+{self.build}" if self.build else "")


@dataclass(frozen=True)
class _Bounds:
    """The versions from `low` to `high`, None is no bound. A pre-release counts only where a bound names one of its
    own MAJOR.MINOR.PATCH: `^1.2` is not to install 1.3.0-beta."""

    low: Version | None
    high: Version | None
    low_inside: bool = True
    high_inside: bool = False

    def __contains__(self, version: Version) -> bool:
        if self.low is not None and (version < self.low or (version == self.low and not self.low_inside)):
            return False
        return self.high is None or version < self.high or (version == self.high and self.high_inside)

    def names_pre_release_of(self, version: Version) -> bool:
        return any(bound is not None and bound.pre and bound.core == version.core for bound in (self.low, self.high))


@dataclass(frozen=True)
class Range:
    """A set of versions."""

    text: str
    either: tuple[tuple[_Bounds, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Range:
        """Reads a range.

        Raises:
            UsageError: it is none.
        """
        words = "*" if text.strip() in ("", "latest") else text
        if len(words) > _LONGEST:
            raise UsageError(f"a range of versions has at most {_LONGEST} characters")
        return cls(text.strip(), tuple(_all_of(part, text) for part in words.split("||")))

    def __contains__(self, version: Version) -> bool:
        return any(
            all(version in bounds for bounds in every)
            and (not version.pre or any(bounds.names_pre_release_of(version) for bounds in every))
            for every in self.either
        )

    def best(self, versions: list[Version]) -> Version | None:
        """The highest version of the range; where all versions are wanted and all are pre-releases, the highest."""
        inside = [version for version in versions if version in self]
        if not inside and self.text in ("", "*", "latest"):
            inside = versions
        return max(inside, default=None)

    def __str__(self) -> str:
        return self.text or "*"


def _all_of(text: str, whole: str) -> tuple[_Bounds, ...]:
    found, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _COMPARATOR.match(text, at)
        if match is None or (match.end() < len(text) and text[match.end()] not in " ,"):
            break
        found.append(_bounds(match))
        at = match.end() + len(text[match.end() :]) - len(text[match.end() :].lstrip(" ,"))
    if not found or at < len(text):
        raise UsageError(f"{whole!r} is not a range of versions", hint="such as 1.2.0, ^1.2, ~1.2.3, '>=1 <3'")
    return tuple(found)


def _bounds(match: re.Match[str]) -> _Bounds:
    given = [int(part) if part and part.isdigit() else None for part in match.group("major", "minor", "patch")]
    if None in given:  # nothing counts behind the first part that is left open
        first = given.index(None)
        given = given[:first] + [None] * (3 - first)
    pre = tuple(match["pre"].split(".")) if match["pre"] and None not in given else ()
    major, minor, patch = (part or 0 for part in given)
    low = Version(major, minor, patch, pre)
    exact, operator = None not in given, match["op"] or "="
    if operator == "^":
        return _Bounds(low, _after(low, _caret(given)))
    if operator == "~":
        return _Bounds(low, _after(low, min(1, _given(given) - 1)))
    if operator == "=":
        return _Bounds(low, low, high_inside=True) if exact else _Bounds(low, _after(low, _given(given) - 1))
    end = low if exact else _after(low, _given(given) - 1)  # what >1.2 begins at, and <=1.2 ends before
    if operator == ">":
        return _Bounds(end, None, low_inside=not exact) if end else _Bounds(low, low, low_inside=False)
    if operator == "<=":
        return _Bounds(None, end, high_inside=exact)
    return _Bounds(low, None) if operator == ">=" else _Bounds(None, low)


def _given(parts: list[int | None]) -> int:
    return sum(part is not None for part in parts)


def _caret(parts: list[int | None]) -> int:
    """The part that ^ lets stay: the first that is not 0, else the last that is given."""
    given = [part for part in parts if part is not None]
    return next((i for i, part in enumerate(given) if part), len(given) - 1)


def _after(low: Version, part: int) -> Version | None:
    """The first version in which part 0, 1 or 2 is higher, pre-releases included; None if no part stays (-1)."""
    if part < 0:
        return None
    core = [*low.core[:part], low.core[part] + 1, 0, 0][:3]
    return Version(core[0], core[1], core[2], ("0",))
