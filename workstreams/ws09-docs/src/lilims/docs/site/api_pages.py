"""A page for each package: what its public modules export.

Writes the pages that autodoc fills in, into `docs/api`, which git ignores. Knows what is public (public.py) and
autodoc's directives. Must not know how a docstring is written.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..public import PublicName, constant_documentation, main_entry, packages, public_modules, public_names
from .docstrings import converted

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["FOLDER", "names", "page", "write"]

FOLDER = "api"
_DIRECTIVES = {"class": "autoclass", "exception": "autoexception", "function": "autofunction"}
_OPTIONS = {"class": [":members:"]}


@lru_cache(maxsize=1)
def names() -> list[str]:
    """The packages that have a page."""
    return packages()


def write(app: Sphinx) -> None:
    """Writes the pages that changed; those of packages that are gone are removed."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    wanted = {folder / f"{name}.md": page(name) for name in names()}
    for path, text in wanted.items():
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8", newline="\n")
    for path in set(folder.glob("lilims.*.md")) - wanted.keys():
        path.unlink()


def page(package: str) -> str:
    """The page of a package."""
    parts = [f"# {package}\n"]
    for module in public_modules(package):
        if module != package:
            parts.append(f"## {module}\n")
        parts.append(_block([f".. automodule:: {module}", "   :no-members:"]))
        parts += [_entry(name) for name in public_names(module)]
    return "\n".join(parts)


def _entry(name: PublicName) -> str:
    if name.kind == "data":  # autodoc finds no text where a name is handed on
        text = constant_documentation(name.module, name.name)
        return _block([f".. py:data:: {name.dotted}", "", *(f"   {line}" for line in converted(text.splitlines()))])
    options = list(_OPTIONS.get(name.kind, ()))
    value = getattr(importlib.import_module(name.module), name.name)
    if getattr(value, "__bases__", (object,)) != (object,):
        options.append(":show-inheritance:")
    if main_entry(name) != name.dotted:
        options.append(":no-index:")
    return _block([f".. {_DIRECTIVES[name.kind]}:: {name.dotted}", *(f"   {option}" for option in options)])


def _block(lines: list[str]) -> str:
    return "\n".join(["```{eval-rst}", *lines, "```", ""])
