"""What turns docs/ into a site: an extension of Sphinx.

Knows the order of Sphinx's events and which file handles which. Must not know any page's text. The pages stay plain
Markdown, as GitHub shows them: order, reference pages and pictures are put in while the site is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core import version

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx: `extensions = ["lilims.docs.site"]`."""
    from . import api_pages, docstrings, order, outside, pictures, references

    app.add_config_value("lilims_repository", "", "env", str)
    app.connect("builder-inited", api_pages.write)
    app.connect("source-read", order.add_toctrees)
    app.connect("source-read", outside.rewrite)
    app.connect("autodoc-process-docstring", docstrings.convert)
    app.connect("missing-reference", references.resolve)
    app.connect("doctree-resolved", pictures.put_in)
    app.connect("html-page-context", pictures.colours)
    return {"version": version(), "parallel_read_safe": True, "parallel_write_safe": True}
