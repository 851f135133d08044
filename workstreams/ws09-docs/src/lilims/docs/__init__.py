"""The documentation site: reference made from the code, diagrams, and the checks that keep pages true.

    from lilims.docs import check_links
    assert check_links(Path("docs")) == []

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

if TYPE_CHECKING:
    from .command_line import command_line_page
    from .graph import Edge, Graph, Node, dot
    from .links import check_links
    from .markdown import Fence, Page, Problem, pages
    from .names import check_names
    from .public import PublicName, public_modules, public_names, undocumented
    from .svg import render

__all__ = [
    "Edge",
    "Fence",
    "Graph",
    "Node",
    "Page",
    "Problem",
    "PublicName",
    "check_links",
    "check_names",
    "command_line_page",
    "dot",
    "pages",
    "public_modules",
    "public_names",
    "render",
    "undocumented",
]

_HOMES = {
    "Edge": "graph",
    "Fence": "markdown",
    "Graph": "graph",
    "Node": "graph",
    "Page": "markdown",
    "Problem": "markdown",
    "PublicName": "public",
    "check_links": "links",
    "check_names": "names",
    "command_line_page": "command_line",
    "dot": "graph",
    "pages": "markdown",
    "public_modules": "public",
    "public_names": "public",
    "render": "svg",
    "undocumented": "public",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
