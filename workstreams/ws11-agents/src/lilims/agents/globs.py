"""Which files a task touches: globs, whether two of them can meet, and the lock that guards each.

    *  any characters of one name      ?  one character      **  any number of folders (a whole part)

A glob covers the paths that it matches and everything below them. Names are compared without case, since some file
systems do so. Knows text. Must not look at a file system: a glob may speak of files that are yet to be written.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["check", "covers", "lock_key", "overlap"]

CONTAINERS = {"workstreams"}  # folders whose children are guarded one by one
_PART = re.compile(r"[A-Za-z0-9._*?@+-]{1,100}")


def check(glob: str) -> None:
    """Accepts a relative glob with a literal first part (the first two parts below a folder of CONTAINERS).

    Raises:
        ValueError: absolute, `..`, empty part, other characters, `.git`, or a wildcard where a lock needs a name.
    """
    if len(glob) > 300:
        raise ValueError("is longer than 300 characters")
    parts = glob.split("/")
    for part in parts:
        if part in ("", ".", ".."):
            raise ValueError("must be relative, without '.', '..' or empty parts")
        if not _PART.fullmatch(part):
            raise ValueError(f"{part!r} holds other characters than letters, digits and ._*?@+-")
        if part.lower() == ".git":
            raise ValueError("must not reach into .git")
        if "**" in part and part != "**":
            raise ValueError("'**' must be a whole part")
    needed = 2 if parts[0] in CONTAINERS else 1
    if len(parts) < needed or any(c in part for part in parts[:needed] for c in "*?"):
        example = "workstreams/ws02-runtime" if needed == 2 else "docs"
        raise ValueError(f"must begin with a name without wildcards, such as {example}")


def lock_key(glob: str) -> str:
    """The folder or file whose lock guards the glob. Globs that overlap have the same key."""
    parts = glob.lower().split("/")
    return "/".join(parts[: 2 if parts[0] in CONTAINERS else 1])


@lru_cache(maxsize=4096)
def _pattern(glob: str) -> re.Pattern[str]:
    text = ""
    for part in glob.split("/"):
        if part == "**":
            text += "(?:[^/]+/)*"
        else:
            text += re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]") + "/"
    return re.compile(text + ".*", re.IGNORECASE | re.DOTALL)


def covers(glob: str, path: str) -> bool:
    """Whether `path` (relative, with slashes) is matched by the glob, or lies below what it matches."""
    return _pattern(glob).fullmatch(path + "/") is not None


def overlap(a: str, b: str) -> bool:
    """Whether some path is covered by both globs."""
    return _meet((*a.lower().split("/"), "**"), (*b.lower().split("/"), "**"))


@lru_cache(maxsize=65536)
def _meet(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    if not a or not b:
        return all(part == "**" for part in a or b)
    if a[0] == "**":
        return _meet(a[1:], b) or _meet(a, b[1:])
    if b[0] == "**":
        return _meet(a, b[1:]) or _meet(a[1:], b)
    return _names_meet(a[0], b[0]) and _meet(a[1:], b[1:])


@lru_cache(maxsize=65536)
def _names_meet(a: str, b: str) -> bool:
    """Whether one name is matched by both parts."""
    reached = {(0, 0)}
    waiting = [(0, 0)]
    while waiting:
        i, j = waiting.pop()
        if (i, j) == (len(a), len(b)):
            return True
        x, y = a[i : i + 1], b[j : j + 1]
        steps = {(i + 1, j) if x == "*" else None, (i, j + 1) if y == "*" else None}
        if x and y:  # one character more, which both can take
            same = x == y or x in "*?" or y in "*?"
            steps.add((i + (x != "*"), j + (y != "*")) if same else None)
        for step in steps - reached - {None}:
            assert step is not None
            reached.add(step)
            waiting.append(step)
    return False
