"""Links that lead nowhere.

Knows which targets a page may name: files beside it, anchors in them, addresses. Must not fetch anything: an address
is only looked at, `hatch run docs:linkcheck` asks the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .markdown import Page, Problem, pages

__all__ = ["check_links"]

_SCHEMES = ("https", "http", "mailto")


def check_links(folder: Path) -> list[Problem]:
    """Every link of a folder's pages that leads nowhere: no such file, no such heading, no such address.

    Args:
        folder: its pages and those of the folders in it are read; a link may leave it.

    Raises:
        StorageError: there is no such folder.
        InputError: a page cannot be read.
    """
    known: dict[Path, Page] = {page.path.resolve(): page for page in pages(folder)}
    return sorted(problem for page in list(known.values()) for problem in _check(page, known))


def _check(page: Page, known: dict[Path, Page]) -> Iterator[Problem]:
    for line, target in page.links:
        message = _wrong(page, target, known)
        if message:
            yield Problem(page.path, line, message)


def _wrong(page: Page, target: str, known: dict[Path, Page]) -> str | None:
    """What is wrong with a target; None if nothing is."""
    if target.startswith(("http:", "https:", "mailto:")) or "://" in target:
        return _wrong_address(target)
    place, _, anchor = target.partition("#")
    path = page.path if not place else page.path.parent / unquote(place)
    try:
        there = path.exists()
    except OSError:  # a name that is too long for one
        there = False
    if not there:
        return f"{target}: no such file"
    if not anchor:
        return None
    if path.suffix != ".md":
        return f"{target}: only pages have anchors"
    other = known.setdefault(path.resolve(), Page(path))
    return None if unquote(anchor) in other.anchors else f"{target}: no such heading"


def _wrong_address(target: str) -> str | None:
    try:
        parts = urlsplit(target)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        return f"{target}: not an address"
    if parts.scheme not in _SCHEMES:
        return f"{target}: not one of {', '.join(_SCHEMES)}"
    good = bool(parts.path) if parts.scheme == "mailto" else bool(parts.hostname)
    return None if good and port_is_one else f"{target}: not an address"
