"""`lilims ci release-check` on trees in which one thing does not agree."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lilims.ci.releasing import check_release, version_of
from lilims.ci.tree import Tree
from lilims.core import cli

from .repository import Repo

ROOT = """\
[project]
name = "lilims"
version = "0.2.0"
dependencies = ["lilims-core==0.2.0", "lilims-words == 0.2.0"]

[project.optional-dependencies]
plot = ["lilims-core[plot]==0.2.0", "lilims-words[plot]==0.2.0"]

[tool.uv.workspace]
members = ["shared", "workstreams/*"]
"""
MEMBER = '[project]\nname = "lilims-{}"\nversion = "0.2.0"\n[project.optional-dependencies]\nplot = ["matplotlib"]\n'
CHANGELOG = """\
# Changelog

## Unreleased

## 0.2.0 - 2026-01-31

### Added
- a thing

## 0.1.0 - 2025-01-31
- the first thing
"""
FILES = {
    "pyproject.toml": ROOT,
    "shared/pyproject.toml": MEMBER.format("core"),
    "workstreams/ws01-words/pyproject.toml": MEMBER.format("words"),
    "CHANGELOG.md": CHANGELOG,
}
TODAY = datetime.date(2026, 2, 1)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    return Repo(tmp_path_factory.mktemp("release"), FILES)


@pytest.fixture
def tree(repo: Repo) -> Callable[[str, str, str], Tree]:
    """The tree in which a text of a file is another."""

    def change(path: str, old: str, new: str) -> Tree:
        assert old in FILES[path]
        repo.write({**FILES, path: FILES[path].replace(old, new)})
        return Tree.of(repo.root)

    return change


def test_a_tree_that_agrees(repo: Repo) -> None:
    repo.write(FILES)
    tree = Tree.of(repo.root)
    assert version_of(tree) == "0.2.0"
    assert check_release(tree, tag="v0.2.0", running="0.2.0", today=TODAY) == []
    assert check_release(tree) == []


WRONG = {
    "a package of another version": ("shared/pyproject.toml", "0.2.0", "0.1.0", "lilims-core has version 0.1.0"),
    "a pin of another version": ("pyproject.toml", "core==0.2.0", "core==0.1.0", "lacks lilims-core==0.2.0"),
    "a range": ("pyproject.toml", '"lilims-core==', '"lilims-core>=', "lacks lilims-core==0.2.0"),
    "a package that is left out": ("pyproject.toml", ', "lilims-words == 0.2.0"', "", "lacks lilims-words==0.2.0"),
    "a package too many": ("pyproject.toml", '["lilims-core==', '["lilims-x==0.2.0", "lilims-core==', "has lilims-x=="),
    "an extra that is left out": ("shared/pyproject.toml", "plot =", "draw =", "the extra draw of lilims lacks"),
    "an extra too many": ("shared/pyproject.toml", "plot =", "draw =", "lilims-core[plot]==0.2.0 too many"),
    "a version in another form": ("pyproject.toml", '"0.2.0"', '"v0.2"', "is not of the form"),
    "no section": ("CHANGELOG.md", "## 0.2.0 - 2026-01-31", "## 0.1.9 - 2026-01-31", "no section ## 0.2.0"),
    "a section further down": ("CHANGELOG.md", "## Unreleased", "## 0.3.0 - 2026-01-31\n- x\n", "no section ## 0.2.0"),
    "no date": ("CHANGELOG.md", "## 0.2.0 - 2026-01-31", "## 0.2.0", "has no date"),
    "no such day": ("CHANGELOG.md", "2026-01-31", "2026-02-31", "has no date"),
    "a day to come": ("CHANGELOG.md", "2026-01-31", "2026-02-02", "yet to come"),
    "an empty section": ("CHANGELOG.md", "- a thing", "", "is empty"),
    "entries that are not released": ("CHANGELOG.md", "## Unreleased\n", "## Unreleased\n- more\n", "under Unreleased"),
    "a section twice": ("CHANGELOG.md", "## 0.1.0", "## 0.2.0", "two sections 0.2.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_agree(tree: Callable[[str, str, str], Tree], name: str) -> None:
    path, old, new, message = WRONG[name]
    findings = check_release(tree(path, old, new), tag="v0.2.0", today=TODAY)
    assert any(message in str(finding) for finding in findings), findings


@pytest.mark.parametrize("tag", ["0.2.0", "v0.2", "v0.2.1", "v0.2.0 ", "refs/tags/v0.2.0", ""])
def test_the_tag_is_the_version(repo: Repo, tag: str) -> None:
    repo.write(FILES)
    assert [f"the tag is {tag}:" in str(f) for f in check_release(Tree.of(repo.root), tag=tag, today=TODAY)] == [True]


def test_what_is_installed_is_that_version(repo: Repo) -> None:
    repo.write(FILES)
    findings = check_release(Tree.of(repo.root), running="0.1.0")
    assert [str(f) for f in findings] == ["pyproject.toml: has version 0.2.0, and `lilims --version` says 0.1.0"]


def test_between_releases_a_changelog_is_open(tree: Callable[[str, str, str], Tree]) -> None:
    assert check_release(tree("CHANGELOG.md", "## Unreleased\n", "## Unreleased\n- more\n")) == []
    assert "neither" in str(check_release(tree("CHANGELOG.md", "## Unreleased\n\n## 0.2.0", "## 0.3.0"))[0])


def test_the_command(repo: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    repo.write(FILES)
    monkeypatch.chdir(repo.root)
    assert cli.run(["ci", "release-check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == "0.2.0"
    assert cli.run(["ci", "release-check", "--tag", "v9", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "ReleaseError" and error["where"] == "pyproject.toml" and "v9" in error["message"]


def test_this_repository_agrees() -> None:
    """Between releases: the versions, pins and extras of lilims itself."""
    root = Path(__file__).resolve().parents[3]
    assert [str(finding) for finding in check_release(Tree.of(root))] == []
