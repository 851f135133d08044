"""Links that lead nowhere, from Python and from the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lilims.core import cli
from lilims.docs import check_links


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.md").write_text("# Three\n")
    (tmp_path / "two words.md").write_text("# Four\n")
    (tmp_path / "c.py").write_text("")
    return tmp_path


GOOD = ("b.md", "b.md#three", "#one-two", "two%20words.md#four", "c.py", "https://example.org/a#b", "mailto:a@b.org")
BAD = {
    "gone.md": "no such file",
    "gone.md#x": "no such file",
    "n" * 300: "no such file",
    "b.md#tree": "no such heading",
    "#one-tow": "no such heading",
    "c.py#L3": "only pages have anchors",
    "ftp://example.org": "not one of https, http, mailto",
    "https://": "not an address",
    "https://example.org:port/": "not an address",
    "https://[::1": "not an address",
    "mailto:": "not an address",
}


@pytest.mark.parametrize("target", GOOD)
def test_a_good_link(target: str, folder: Path) -> None:
    (folder / "a.md").write_text(f"# One two\n\n[x]({target})\n")
    assert check_links(folder) == []


@pytest.mark.parametrize("target", BAD)
def test_a_bad_link(target: str, folder: Path) -> None:
    (folder / "a.md").write_text(f"# One two\n\n[x](<{target}>)\n")
    (problem,) = check_links(folder)
    assert (problem.file.name, problem.line) == ("a.md", 3)
    assert problem.message.endswith(f": {BAD[target]}") and problem.message.startswith(target[:6])


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.md").write_text("# One two\n\n[ok](b.md#three) [gone](c.md)\n[anchor](#one-tow) [fine](#one-two)\n")
    assert cli.run(["docs", "check", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["schema_version"], found["pages"]) == ("links", 1, 3)
    assert [(Path(p["file"]).name, p["line"]) for p in found["problems"]] == [("a.md", 3), ("a.md", 4)]
    assert cli.run(["docs", "check", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == f"{folder / 'a.md'}:3: c.md: no such file"
    assert err == "3 pages, 2 links that lead nowhere\n"
    (folder / "a.md").unlink()
    assert cli.run(["docs", "check", str(folder), "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["docs", "check", str(tmp_path / "none")]) == 1
    assert "none: no such folder" in capsys.readouterr().err
