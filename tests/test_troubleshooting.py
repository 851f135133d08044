"""Every class of error that is raised stands in docs/troubleshooting.md, with what a command prints."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import error_messages
from lilims.core import cli, errors
from lilims.core.console import console

PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
SECTION = PAGE.read_text("utf-8").split("## By class of error")[1]


def test_every_class_that_is_raised_has_a_heading() -> None:
    assert re.findall(r"^### (\w+)$", SECTION, re.M) == error_messages.raised()


def test_every_class_is_raised_somewhere() -> None:
    assert {*error_messages.raised(), "LilimsError"} == set(errors.__all__)


def test_every_class_has_an_example_or_a_reason() -> None:
    assert sorted([*error_messages.EXAMPLES, *error_messages.NO_EXAMPLE]) == sorted(error_messages.raised())


@pytest.fixture(scope="module")
def good() -> Iterator[Path]:
    with error_messages.desk() as folder:
        yield folder
    console.json = console.quiet = False


needs_converter = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")


@needs_converter
@pytest.mark.parametrize("name", error_messages.EXAMPLES)
def test_the_example_is_what_the_command_prints(name: str, good: Path) -> None:
    assert error_messages.printed(error_messages.EXAMPLES[name], good) in SECTION.split(f"### {name}\n")[1]


@needs_converter
@pytest.mark.parametrize("name", error_messages.EXAMPLES)
def test_the_example_is_of_that_class(
    name: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(good, tmp_path / "work")
    example = error_messages.EXAMPLES[name]
    example.damage(folder)
    monkeypatch.chdir(folder)
    cli.run([*example.command.split(), "--json"])
    console.json = False
    assert json.loads(capsys.readouterr().out)["error"]["type"] == name
