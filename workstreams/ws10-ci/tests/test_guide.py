"""The commands that docs/ci.md, docs/releasing.md and this package's README show are run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lilims.core import cli

from .repository import Repo

ROOT = Path(__file__).resolve().parents[3]
PAGES = ["docs/ci.md", "docs/releasing.md", "workstreams/ws10-ci/README.md"]
MACOS = ("probes", "behaviour")  # shown in a page of their own, and minutes long


def commands(page: str) -> list[str]:
    """Lines of shell blocks that begin with `lilims ci`, without their comments."""
    text = (ROOT / page).read_text("utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    found = [line.partition(" #")[0].strip() for line in lines if line.startswith("lilims ci ")]
    return [line for line in found if line.split()[2] not in MACOS]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose version is that of the pages' examples, on a branch behind origin/main."""
    repo = Repo(
        tmp_path,
        {
            "pyproject.toml": '[project]\nversion = "0.2.0"\n[tool.uv.workspace]\nmembers = ["ws/*"]\n',
            "CHANGELOG.md": "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-01-31\n\n- a thing\n",
        },
    )
    repo.git("update-ref", "refs/remotes/origin/main", "HEAD")
    repo.commit()
    for side in ("head", "base"):
        repo.write({f"figures/{side}/sizes.json": '{"kind": "sizes", "schema_version": 1, "sizes": {"a": 3}}'})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda _name: "0.2.0")
    return tmp_path


@pytest.mark.parametrize(("page", "line"), [(page, line) for page in PAGES for line in commands(page)])
@pytest.mark.usefixtures("tree")
def test_a_command_of_a_page(page: str, line: str) -> None:
    assert cli.run(shlex.split(line)[1:]) == 0


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_some(page: str) -> None:
    assert commands(page)


def test_files_that_the_pages_name_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"(?:tools|tests)/[\w/]+\.(?:py|sh)", (ROOT / page).read_text("utf-8")):
            assert (ROOT / path).is_file(), f"{page}: {path}"
