"""The order of the pages: that of the links in index.md.

Each heading of index.md becomes a part of the navigation, each item of a list below it a page of that part, under the
link's own words. Knows lists of links. Must not know any page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["add_toctrees", "listed"]


def listed(text: str) -> dict[str, list[tuple[str, str]]]:
    """Heading → its links to pages, as (words, name without `.md`), in their order."""
    found: dict[str, list[tuple[str, str]]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line[3:].strip()
        elif link := re.match(r"[-*\d.]+ \[([^\]]+)\]\(([\w-]+)\.md\)", line):
            found.setdefault(heading, []).append((link[1], link[2]))
    return found


def add_toctrees(app: Sphinx, page: str, source: list[str]) -> None:
    """Adds what the navigation is made of behind the text of index.md, and the reference's pages behind api.md."""
    from .api_pages import FOLDER, names

    if page == app.config.root_doc:
        for heading, links in listed(source[0]).items():
            source[0] += _toctree(heading, [f"{words} <{name}>" for words, name in links])
    elif page == "api":
        source[0] += _toctree("", [f"{name} <{FOLDER}/{name}>" for name in names()])


def _toctree(caption: str, entries: list[str]) -> str:
    options = [":hidden:", ":titlesonly:"] + ([f":caption: {caption}"] if caption else [])
    return "\n\n```{toctree}\n" + "\n".join([*options, "", *entries]) + "\n```\n"
