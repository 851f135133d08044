"""Pictures within the page, so that they follow its colours, can be scrolled, and are read out.

Knows SVG files of `docs/diagrams` (svg.py makes them). Must not know what they show.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..svg import stylesheet

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

__all__ = ["colours", "put_in"]

_FITS = 1100  # pixels: what may be made as narrow as a page, and is legible still
_FRAME = (
    ".dia-frame{overflow:auto;max-height:60rem;margin:1rem 0;text-align:center}"
    ".dia-frame svg{max-width:none;height:auto}.dia-fit svg{max-width:100%;min-width:44rem}"
)


def put_in(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Puts the text of SVG files where the page has pictures of them."""
    if app.builder.format != "html":
        return
    from docutils import nodes

    for image in list(doctree.findall(nodes.image)):
        path = Path(app.srcdir) / str(image["uri"])
        if path.suffix == ".svg" and path.parent.name == "diagrams":
            text = path.read_text("utf-8")
            narrow = int(re.search(r'width="(\d+)"', text)[1]) <= _FITS  # type: ignore[index]
            kind = "dia-frame dia-fit" if narrow else "dia-frame"
            words = escape(image.get("alt", "diagram"))
            frame = f'<div class="{kind}" tabindex="0" role="group" aria-label="{words}">{text}</div>'
            image.replace_self(nodes.raw("", frame, format="html"))


def colours(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Gives pages with pictures the colours of the theme that the reader chose."""
    if doctree is None or "dia-frame" not in context.get("body", ""):
        return
    chosen = stylesheet('body,body[data-theme="light"]', 'body[data-theme="dark"]')
    system = stylesheet("body:not(*)", 'body:not([data-theme="light"])').split("\n")[1]
    style = f"<style>{chosen}@media (prefers-color-scheme:dark){{{system}}}{_FRAME}</style>"
    context["metatags"] = context.get("metatags", "") + style
