"""Links from a page to files that are no part of the site: sources, tests, READMEs.

With the repository's address (`lilims_repository`, such as https://host/owner/name/blob/main) they lead there; without
one the site carries a copy of the file. Knows how links are written. Must not know where the site is published.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["rewrite"]

_LINK = re.compile(r"\]\((\.\./[^)\s#]+)(#[^)\s]*)?\)")


def rewrite(app: Sphinx, page: str, source: list[str]) -> None:
    """Turns links that leave the folder of pages into links to the repository, or to a copy."""
    address = str(app.config.lilims_repository).rstrip("/")
    root = Path(app.srcdir).parent

    def replaced(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(Path(app.srcdir).name, posixpath.dirname(page), link[1]))
        if address:
            return f"]({address}/{path}{link[2] or ''})"
        return f"](<path:{link[1]}>)" if (root / path).is_file() else f"](https://example.invalid/{path})"

    source[0] = _LINK.sub(replaced, source[0])
