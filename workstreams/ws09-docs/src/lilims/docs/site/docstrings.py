"""Docstrings as they are written here, in the markup that autodoc reads.

Here single backticks are code, an indented paragraph is an example or a table of aligned words, and stars and
underscores mean themselves. Sections (Args, Raises, Attributes, Returns) are napoleon's, which runs after this. Knows
markup. Must not know any name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["convert", "converted"]

_SECTION = re.compile(r"(Args|Arguments|Attributes|Raises|Returns|Yields|Example|Examples|Note|Given|Result):\s*$")


def convert(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Called by autodoc for each docstring; changes the lines in place."""
    lines[:] = converted(lines)


def converted(lines: list[str]) -> list[str]:
    """The same text as reStructuredText."""
    found: list[str] = []
    prose: list[str] = []
    section = block = False
    for number, line in enumerate(lines):
        indented = line.startswith("    ")
        if line and not indented:
            section, block = bool(_SECTION.match(line)), False
        if indented and not section and not block and (number == 0 or not lines[number - 1].strip()):
            found += [*_inline(prose), "::", ""]
            prose, block = [], True
        (found if block else prose).append(line)
    return [*found, *_inline(prose), ""]


def _inline(lines: list[str]) -> list[str]:
    """Code, which may reach over the end of a line, in double backticks; everything else means itself."""
    pieces = re.split(r"(`+[^`]+`+)", "\n".join(lines))
    text = "".join(f"\0``{' '.join(p.strip('`').split())}``\0" if p.startswith("`") else _plain(p) for p in pieces)
    text = re.sub(r"(?<=\w)\0|\0(?=\w)", r"\\ ", text).replace("\0", "")  # markup must not touch a word
    return text.split("\n") if lines else []


def _plain(text: str) -> str:
    text = re.sub(r"([*|])", r"\\\1", text)
    return re.sub(r"(\w)_(?!\w)", r"\1\\_", text)
