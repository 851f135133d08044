"""What is public, and what is said of it; names that pages may use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lilims.docs import check_names, public_modules, public_names, undocumented
from lilims.docs.public import constant_documentation, main_entry, resolve, summary_of

SOURCE = {
    "__init__.py": '"""A package."""\nfrom . import sub\nfrom .inner import LIMIT, Thing, quiet\n'
    '__all__ = ["LIMIT", "Thing", "quiet", "sub"]\n',
    "inner.py": '''
from functools import cached_property
LIMIT = 3
"""How many."""
class Thing:
    """A thing. It does things."""
    def said(self): "Says."
    def silent(self): pass
    @property
    def hidden(self): return 1
    @cached_property
    def kept(self): return 1
    @cached_property
    def told(self): "Tells."
    def _private(self): pass
def quiet(): pass
''',
    "_private/__init__.py": '__all__ = ["x"]\nx = 1\n',
    "commands/__init__.py": '__all__ = ["x"]\nx = 1\n',
    "sub/__init__.py": '"""Below."""\nfrom ..inner import Thing\n__all__ = ["Thing"]\n',
    "only/__init__.py": '__all__ = ["a"]\n',
    "only/a.py": "",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package `lilims.sample…` of its own for each test."""
    import lilims

    name = f"sample{abs(hash(tmp_path))}"
    for file, text in SOURCE.items():
        path = tmp_path / "lilims" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(lilims, "__path__", [*lilims.__path__, str(tmp_path / "lilims")])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return f"lilims.{name}"


def test_modules(package: str) -> None:
    assert public_modules(package) == [package, f"{package}.sub"]


def test_names(package: str) -> None:
    found = public_names(package)
    assert [(n.name, n.kind, n.summary) for n in found] == [
        ("LIMIT", "data", "How many."),
        ("Thing", "class", "A thing."),
        ("quiet", "function", ""),
    ]
    (below,) = public_names(f"{package}.sub")
    assert main_entry(below) == f"{package}.Thing"


def test_what_nothing_is_said_of(package: str) -> None:
    assert undocumented(package) == [
        f"{package}.quiet",
        *(f"{package}.Thing.{name}" for name in ("silent", "hidden", "kept")),
    ]


def test_constants_that_are_handed_on(package: str) -> None:
    assert constant_documentation(package, "LIMIT") == "How many."


def test_names_in_pages(package: str, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "a.md").write_text(
        f"`{package}.Thing.said` `{package}.gone`\n`lilims.decoder/1` `lilims.max_positions`\n"
        "`lilims docs check --json` `lilims docs chek` `lilims docs check --jsn`\n"
        "`lilims …: lilims supports … only` `lilims COMMAND`\n\n"
        f"```sh\nlilims docs check && lilims dosc\n```\n```python\nimport {package}.nothing\n```\n"
    )
    assert [(p.line, p.message) for p in check_names(folder)] == [
        (1, f"{package}.gone does not exist"),
        (3, "`lilims docs check` has no option --jsn"),
        (3, "there is no command `lilims docs chek`"),
        (7, "there is no command `lilims dosc`"),
        (9, f"{package}.nothing does not exist"),
    ]


@pytest.mark.parametrize(
    ("dotted", "there"),
    [
        ("lilims.docs", True),
        ("lilims.docs.check_links", True),
        ("lilims.docs.Problem.message", True),
        ("lilims.docs.links.check_links", True),
        ("lilims.core.manifest.Manifest.context", True),
        ("lilims.docs.nothing", False),
        ("lilims.nothing", False),
        ("lilims.docs.Problem.nothing", False),
    ],
)
def test_whether_a_name_is_there(dotted: str, there: bool) -> None:
    assert resolve(dotted) == there


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("One. Two.", "One."),
        ("a\nb", "a b"),
        ("One!\n\nTwo.", "One!"),
        ("", ""),
        ("e.g. this", "e.g."),
        ("v1.2 x", "v1.2 x"),
    ],
)
def test_the_first_sentence(text: str, summary: str) -> None:
    assert summary_of(text) == summary


@pytest.mark.parametrize("module", [m for p in ("lilims.core", "lilims.docs") for m in public_modules(p)])
def test_ours_is_documented(module: str) -> None:
    assert undocumented(module) == []
