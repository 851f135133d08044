"""The site's settings: `hatch run docs:build`, `hatch run docs:serve`.

The order of the pages is that of index.md; `lilims.docs.site` puts in what is made from the code.
"""

import os

from lilims.core import version as _version

project = "lilims"
author = "the lilims authors"
copyright = author
release = version = _version()

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "lilims.docs.site",
]
root_doc = "index"
exclude_patterns = ["_build"]
nitpicky = True
# The repository's pages of files, for links out of the site; GitHub's workflows know it.
_server, _name = os.environ.get("GITHUB_SERVER_URL", ""), os.environ.get("GITHUB_REPOSITORY", "")
lilims_repository = f"{_server}/{_name}/blob/{os.environ.get('GITHUB_SHA', 'main')}" if _server and _name else ""

myst_heading_anchors = 5
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_preprocess_types = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
suppress_warnings = ["ref.python"]  # a word that several entries have; the nearest is taken
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"lilims {release}"
html_show_sphinx = False
html_copy_source = html_show_sourcelink = False  # it is not the page as GitHub has it
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1d4ed8", "color-brand-content": "#1d4ed8"},
    "dark_css_variables": {"color-brand-primary": "#93c5fd", "color-brand-content": "#93c5fd"},
    "navigation_with_keys": True,
}
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
linkcheck_timeout = 20
linkcheck_workers = 4
linkcheck_ignore = [r"http://127\.0\.0\.1.*"]
