"""Globs: what they cover, when two can meet (against enumeration), and the locks that guard them."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.agents.globs import check, covers, lock_key, overlap

COVERED = [
    ("docs", "docs", True), ("docs", "docs/a/b.md", True), ("docs", "docs2", False), ("docs/*.md", "docs/a.md", True),
    ("docs/*.md", "docs/a/b.md", False), ("docs/**/b.md", "docs/b.md", True), ("docs/**/b.md", "docs/x/y/b.md", True),
    ("docs/?.md", "docs/ab.md", False), ("Docs/A.md", "docs/a.md", True), ("docs/*", "docs/a/b", True),
    ("docs/a.md", "docs/aXmd", False), ("docs/**", "docs/x", True), ("docs/**", "other", False),
]  # fmt: skip


@pytest.mark.parametrize(("glob", "path", "wanted"), COVERED, ids=[f"{g}~{p}" for g, p, _ in COVERED])
def test_covers(glob: str, path: str, wanted: bool) -> None:
    check(glob)
    assert covers(glob, path) is wanted


BAD = [
    "/etc/passwd", "../up", "a/../b", "a//b", "", "a/", "./a", "a\\b", "C:/x", "~/x", "a/b;rm", "a b", "$HOME", "x\n",
    "*", ".git/hooks", "a/.GIT/x", "**/x", "a*/b", "workstreams", "workstreams/*/x", "docs/a**", "a/[b]", "ä",
    "x" * 400,
]  # fmt: skip


@pytest.mark.parametrize("glob", BAD, ids=[repr(b)[:20] for b in BAD])
def test_bad_globs_are_refused(glob: str) -> None:
    with pytest.raises(ValueError, match=r".{5,}"):
        check(glob)


names = st.text("ab*?", min_size=1, max_size=3)
parts = st.lists(st.one_of(names, st.just("**")), min_size=0, max_size=3)
PATHS = ["/".join(("x", *p)) for depth in range(4) for p in product(("a", "b", "ab", "ba", "aab", "bb"), repeat=depth)]


@given(parts, parts)
def test_overlap_is_what_enumeration_finds(a: list[str], b: list[str]) -> None:
    first, second = "/".join(["x", *a]), "/".join(["x", *b])
    met = any(covers(first, path) and covers(second, path) for path in PATHS)
    if met:
        assert overlap(first, second) and overlap(second, first), f"{first} and {second} meet"
        assert lock_key(first) == lock_key(second)
    elif not overlap(first, second):
        assert not overlap(second, first)


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ("docs/a*", "docs/*b", True), ("docs/a?", "docs/b?", False), ("docs/**/x", "docs/y/**", True),
        ("docs/a", "docs/a/b/c", True), ("docs/**/x.md", "docs/*.txt", True),  # a folder may be named y.txt
        ("docs/a/x", "docs/a/y", False), ("shared", "docs", False), ("docs/A", "docs/a", True),
        ("docs/*a*a*a*a*b", "docs/" + "a" * 90, False),
    ],
)  # fmt: skip
def test_overlap(a: str, b: str, wanted: bool) -> None:
    assert overlap(a, b) is wanted
    assert overlap(b, a) is wanted


def test_lock_keys() -> None:
    assert lock_key("workstreams/ws01-conversion/src/**") == "workstreams/ws01-conversion"
    assert lock_key("Docs/**") == lock_key("docs/a.md") == "docs"
