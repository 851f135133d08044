"""A page of Markdown as the checks see it: headings, links, pieces of code.

Knows the form of a page (CommonMark with tables, by markdown-it) and GitHub's rule for the anchors of headings. Must
not know what a link leads to, nor run any code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it.token import Token

__all__ = ["Fence", "Page", "Problem", "pages"]

MAX_BYTES = 4 << 20  # of one page
_NOT_RUN = re.compile(r"<!-- *not run: *(\S.*?) *-->\s*\Z", re.S)


@dataclass(frozen=True, order=True)
class Problem:
    """Something that is wrong at a line of a file."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Fence:
    """A piece of code between fences.

    Attributes:
        language: the word behind the opening fence, empty if there is none.
        not_run: why nobody can run it here, from a comment `<!-- not run: why -->` on the line before; else None.
        line: of the opening fence, from 1.
    """

    language: str
    code: str
    line: int
    not_run: str | None


class Page:
    """One file of Markdown, read when it is first looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def text(self) -> str:
        """The file's text.

        Raises:
            InputError: it cannot be read, is not UTF-8, or is larger than 4 MiB.
        """
        from lilims.core.errors import InputError
        from lilims.core.files import read_bytes

        try:
            return read_bytes(self.path, limit=MAX_BYTES).decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8 (byte {error.start})", where=self.path) from error

    @cached_property
    def _tokens(self) -> list[Token]:
        from markdown_it import MarkdownIt

        return MarkdownIt("commonmark").enable("table").parse(self.text)

    def _inline(self) -> Iterator[tuple[int, Token]]:
        """What stands within the lines of blocks, each with its line: links, code, text, breaks."""
        line = 1
        for token in self._tokens:
            if token.map:
                line = token.map[0] + 1
            for number, child in _with_breaks(token.children or []):
                yield line + number, child

    @cached_property
    def anchors(self) -> dict[str, int]:
        """Every anchor that a link may name, with its line: headings by GitHub's rule, and `id` in HTML."""
        found: dict[str, int] = {}
        seen: Counter[str] = Counter()
        for head, token in zip(self._tokens, self._tokens[1:], strict=False):
            if head.type == "heading_open" and head.map:
                slug = slugify("".join(c.content for c in token.children or [] if c.type in ("text", "code_inline")))
                found[f"{slug}-{seen[slug]}" if seen[slug] else slug] = head.map[0] + 1
                seen[slug] += 1
        for number, line in enumerate(self.text.splitlines(), 1):
            found.update(dict.fromkeys(re.findall(r'<[^>]+\b(?:id|name)="([^"]+)"', line), number))
        return found

    @cached_property
    def links(self) -> list[tuple[int, str]]:
        """Targets of links and pictures, as they are written, with their lines."""
        kinds = {"link_open": "href", "image": "src"}
        inline = self._inline()
        return [(line, str(c.attrs[kinds[c.type]])) for line, c in inline if c.type in kinds]

    @cached_property
    def code(self) -> list[tuple[int, str]]:
        """Code within sentences, with its lines."""
        return [(line, child.content) for line, child in self._inline() if child.type == "code_inline"]

    @cached_property
    def fences(self) -> list[Fence]:
        """The page's pieces of code between fences, in their order."""
        found = []
        lines = self.text.splitlines()
        for token in self._tokens:
            if token.type == "fence" and token.map:
                before = "\n".join(lines[: token.map[0]]).rstrip()
                comment = _NOT_RUN.search(before[before.rfind("<!--") :]) if before.endswith("-->") else None
                words = token.info.split()
                reason = " ".join(comment[1].split()) if comment else None
                found.append(Fence(words[0] if words else "", token.content, token.map[0] + 1, reason))
        return found


def _with_breaks(children: list[Token]) -> Iterator[tuple[int, Token]]:
    line = 0
    for child in children:
        yield line, child
        line += child.type in ("softbreak", "hardbreak")


def slugify(heading: str) -> str:
    """The anchor of a heading by GitHub's rule: lower case, no punctuation, a dash for each space."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def pages(folder: Path) -> list[Page]:
    """Every page of a folder and the folders in it, sorted; hidden folders are left out. Of a file: that page.

    Raises:
        StorageError: there is no such folder.
    """
    from lilims.core.errors import StorageError

    if folder.is_file():
        return [Page(folder)]
    if not folder.is_dir():
        raise StorageError("no such folder", where=folder)
    found = (p for p in sorted(folder.rglob("*.md")) if p.is_file())
    return [Page(p) for p in found if not any(part.startswith((".", "_")) for part in p.relative_to(folder).parts)]
