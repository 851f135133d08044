"""The documentation site: reference made from the code, diagrams, and the checks that keep pages true.

    from lilims.docs import check_links
    assert check_links(Path("docs")) == []

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
