"""Pages as the checks see them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.core.errors import InputError, StorageError
from lilims.docs import Page, pages
from lilims.docs.markdown import slugify

TEXT = """\
# One two

A [link](b.md#x) and `code [no](link)`,
on the next line ![a picture](c.svg).

| a | b |
|---|---|
| [in a table](d.md) | |

## `lilims run`: it's *fine*
## One two
<a id="here"></a>

```sh
[no](link.md)
```

<!-- not run: needs a Mac,
     and time -->
```python
print()
```
    indented
"""


@pytest.fixture
def page(tmp_path: Path) -> Page:
    (tmp_path / "a.md").write_text(TEXT, "utf-8")
    return Page(tmp_path / "a.md")


def test_anchors_are_githubs(page: Page) -> None:
    assert page.anchors == {"one-two": 1, "lilims-run-its-fine": 10, "one-two-1": 11, "here": 12}


def test_links_have_their_lines(page: Page) -> None:
    assert page.links == [(3, "b.md#x"), (4, "c.svg"), (8, "d.md")]


def test_pieces_of_code(page: Page) -> None:
    assert [(f.language, f.code, f.line, f.not_run) for f in page.fences] == [
        ("sh", "[no](link.md)\n", 14, None),
        ("python", "print()\n", 20, "needs a Mac, and time"),
    ]
    assert page.code == [(3, "code [no](link)"), (10, "lilims run")]


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("<!-- not run: why -->\n", "why"),
        ("<!-- not run: why -->\n\n", "why"),
        ("<!-- not run: why -->\ntext\n", None),
        ("<!-- not run: -->\n", None),
        ("<!-- another -->\n", None),
        ("not run: why\n\n", None),
    ],
)
def test_a_reason_stands_right_before_the_piece(before: str, reason: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(before + "```sh\nls\n```\n", "utf-8")
    assert [f.not_run for f in Page(tmp_path / "a.md").fences] == [reason]


@given(st.text(max_size=60))
def test_an_anchor_has_no_spaces_and_stays_itself(heading: str) -> None:
    slug = slugify(heading)
    assert " " not in slug and slugify(slug) == slug.lower()


def test_what_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"ab\xff")
    with pytest.raises(InputError, match=r"a\.md: not UTF-8 \(byte 2\)"):
        _ = Page(tmp_path / "a.md").text
    (tmp_path / "b.md").write_bytes(b" " * (5 << 20))
    with pytest.raises(InputError, match="b.md"):
        _ = Page(tmp_path / "b.md").text
    with pytest.raises(StorageError, match="no such folder"):
        pages(tmp_path / "none")


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("a.md", "b/c.md", ".git/d.md", "_build/e.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [p.path.relative_to(tmp_path).as_posix() for p in pages(tmp_path)] == ["a.md", "b/c.md"]
