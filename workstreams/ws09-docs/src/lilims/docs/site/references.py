"""Types in signatures: those of lilims lead to their entry, wherever they are defined; others stay words.

Knows that a public name is documented where it is exported. Must not ask the network what other libraries document.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..public import packages, public_modules, public_names

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.application import Sphinx

__all__ = ["resolve"]


@lru_cache(maxsize=1)
def _entries() -> dict[str, str]:
    """Last part of a name → its entry, where only one public name has it."""
    found: dict[str, set[str]] = {}
    for package in packages():
        for module in public_modules(package):
            for name in public_names(module):
                found.setdefault(name.name, set()).add(name.dotted)
    return {name: min(entries, key=len) for name, entries in found.items()}


def resolve(app: Sphinx, env: Any, node: Element, contnode: Element) -> Element | None:
    """Called by Sphinx for a reference that leads nowhere; None means that it is an error."""
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    entry = _entries().get(target.rpartition(".")[2])
    ours = entry is not None and ("." not in target or target.split(".")[:2] == entry.split(".")[:2])
    domain = env.get_domain("py")
    if ours and entry in domain.objects:
        place = domain.objects[entry]
        from sphinx.util.nodes import make_refnode

        made: Element = make_refnode(app.builder, node["refdoc"], place.docname, place.node_id, contnode, entry)
        return made
    return contnode
