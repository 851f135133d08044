"""docs/cli.md is what the commands say, and the tool names the first command that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

import cli_reference

PAGE = cli_reference.PAGE.read_text("utf-8")


def test_the_page_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_reference.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("words", ["## lilims convert", "`--quantize SCHEME`", "`--temp FLOAT", "## lilims doctor"])
def test_it_has_what_people_look_for(words: str) -> None:
    assert words in PAGE


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (PAGE, PAGE, None),
        ("", PAGE, "Command line"),
        (PAGE.replace("`--recipe PATH`", "`--recipes PATH`"), PAGE, "lilims convert"),
        (PAGE.replace("## lilims data\n", ""), PAGE, "lilims data"),
        (PAGE + "more\n", PAGE, "Settings"),
    ],
    ids=["none", "no page", "an option", "a command", "the end"],
)
def test_the_first_difference_is_named(old: str, new: str, place: str | None) -> None:
    assert cli_reference.first_difference(old, new) == place


def test_a_page_that_is_old_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "cli.md"
    page.write_text(PAGE.replace("## lilims gc", "## lilims gcc"), "utf-8")
    monkeypatch.setattr(cli_reference, "PAGE", page)
    assert cli_reference.main(["--check"]) == 1
    assert capsys.readouterr().err == "docs/cli.md differs at lilims gc: run python tools/cli_reference.py\n"
    assert cli_reference.main([]) == 0 and page.read_text("utf-8") == PAGE
