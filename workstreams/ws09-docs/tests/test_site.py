"""The extension's parts, without Sphinx."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lilims.docs.site import api_pages, docstrings, order, outside
from lilims.docs.svg import stylesheet

INDEX = """\
# Title
- [not under a heading](zero.md)

## Start
Words, and [a link](no.md) in them.
- [First page](one.md): about it
* [Second](two-b.md)

## Then
1. [Third](three.md)
- [elsewhere](https://example.org) - [with anchor](one.md#x)
"""


def app(folder: Path, repository: str = "") -> Any:
    return SimpleNamespace(config=SimpleNamespace(root_doc="index", lilims_repository=repository), srcdir=folder)


def test_the_order_is_that_of_the_lists() -> None:
    assert order.listed(INDEX) == {
        "": [("not under a heading", "zero")],
        "Start": [("First page", "one"), ("Second", "two-b")],
        "Then": [("Third", "three")],
    }


def test_navigation_is_added_and_the_text_stays(tmp_path: Path) -> None:
    source = [INDEX]
    order.add_toctrees(app(tmp_path), "index", source)
    assert source[0].startswith(INDEX)
    assert (
        "```{toctree}\n:hidden:\n:titlesonly:\n:caption: Start\n\nFirst page <one>\nSecond <two-b>\n```\n" in source[0]
    )
    other = ["text"]
    order.add_toctrees(app(tmp_path), "one", other)
    assert other == ["text"]
    order.add_toctrees(app(tmp_path), "api", other)
    assert "lilims.docs <api/lilims.docs>" in other[0]


@pytest.mark.parametrize(
    ("link", "repository", "wanted"),
    [
        ("../tools/a.py", "", "<path:../tools/a.py>"),
        ("../tools/a.py#L3", "https://host/o/n/blob/main/", "https://host/o/n/blob/main/tools/a.py#L3"),
        ("../tools", "https://host/o/n/blob/main", "https://host/o/n/blob/main/tools"),
        ("other.md", "https://host/o/n/blob/main", "other.md"),
        ("https://x.org/../a", "https://host", "https://x.org/../a"),
    ],
)
def test_links_out_of_the_site(link: str, repository: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "a.py").touch()
    source = [f"see [it]({link})."]
    outside.rewrite(app(tmp_path / "docs", repository), "page", source)
    assert source == [f"see [it]({wanted})."]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("A `code` and *star*.", "A ``code`` and \\*star\\*."),
        ("Many `name`s.", "Many ``name``\\ s."),
        ("`over two\nlines` here", "``over two lines`` here"),
        ("a trailing_ underscore in a_name", "a trailing\\_ underscore in a_name"),
        ("Text:\n\n    a *table*\n    of `words`\n\nMore.", "Text:\n\n::\n\n    a *table*\n    of `words`\n\nMore."),
        ("Args:\n    x: the `x`\n        of it", "Args:\n    x: the ``x``\n        of it"),
        ("Raises:\n    A: why", "Raises:\n    A: why"),
    ],
)
def test_docstrings(ours: str, theirs: str) -> None:
    assert "\n".join(docstrings.converted(ours.splitlines())).rstrip("\n") == theirs


def test_the_page_of_a_package() -> None:
    page = api_pages.page("lilims.docs")
    assert page.startswith("# lilims.docs\n\n```{eval-rst}\n.. automodule:: lilims.docs\n   :no-members:\n```\n")
    assert "```{eval-rst}\n.. autoclass:: lilims.docs.Fence\n   :members:\n```\n" in page
    assert "```{eval-rst}\n.. autofunction:: lilims.docs.check_links\n```\n" in page


def test_constants_are_described_where_they_are_handed_on() -> None:
    page = api_pages.page("lilims.core")
    assert ".. py:data:: lilims.core.manifest.FILE_NAME\n\n   The manifest's name in a model folder.\n" in page
    shown = ".. autoexception:: lilims.core.errors.InputError\n   :show-inheritance:\n"
    assert "## lilims.core.errors" in page and shown in page


def test_pages_of_packages_that_are_gone_go(tmp_path: Path) -> None:
    old = tmp_path / "api" / "lilims.gone.md"
    old.parent.mkdir()
    old.write_text("x")
    api_pages.write(app(tmp_path))
    assert not old.exists() and (tmp_path / "api" / "lilims.docs.md").is_file()
    before = (tmp_path / "api" / "lilims.docs.md").stat().st_mtime_ns
    api_pages.write(app(tmp_path))
    assert (tmp_path / "api" / "lilims.docs.md").stat().st_mtime_ns == before  # nothing is built again for it


def test_both_sets_of_colours_name_the_same() -> None:
    light, dark = stylesheet("a", "b").splitlines()
    assert [v.split(":")[0] for v in light[2:].split(";")] == [v.split(":")[0] for v in dark[2:].split(";")]
