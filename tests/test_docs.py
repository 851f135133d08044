"""The documentation agrees with the code: links, names, generated pages, and nothing public without a word on it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import generated_pages
from lilims.docs import check_links, check_names, public_modules, undocumented
from lilims.docs.public import packages
from lilims.docs.site.order import listed

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
MODULES = [module for package in packages() for module in public_modules(package)]


READMES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "specs", "shared/README.md")]
READMES += sorted((ROOT / "workstreams").glob("*/README.md"))


@pytest.mark.parametrize("place", [DOCS, *READMES], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(place: Path) -> None:
    assert [str(problem) for problem in check_links(place)] == []


@pytest.mark.parametrize("place", [DOCS, *READMES], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_module_command_and_option_that_a_page_names_exists(place: Path) -> None:
    assert [str(problem) for problem in check_names(place)] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_documented(module: str) -> None:
    assert undocumented(module) == []


def test_every_page_has_a_place_in_the_order_and_in_the_readme() -> None:
    order = [f"{name}.md" for links in listed((DOCS / "index.md").read_text("utf-8")).values() for _, name in links]
    assert sorted([*order, "index.md"]) == PAGES
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [page for page in PAGES if f"(docs/{page})" not in readme] == []


TESTED_ELSEWHERE = {"errors", "gguf"}  # test_troubleshooting.py, test_gguf.py


@pytest.mark.parametrize("name", sorted(generated_pages.PAGES.keys() - TESTED_ELSEWHERE))
def test_what_is_made_from_code_is_current(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generated_pages.main(["--check", name]) == 0, capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build: nothing to convert with")
@pytest.mark.parametrize("name", generated_pages.DIAGRAMS)
def test_diagrams_are_current(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generated_pages.main(["--check", name]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", [page for page in PAGES if re.search(r"!\[", (DOCS / page).read_text("utf-8"))])
def test_a_page_shows_every_diagram_by_its_words_too(page: str) -> None:
    """A picture has a text for those who do not see it."""
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", (DOCS / page).read_text("utf-8"))
    assert pictures and all(len(words.split()) > 3 for words, _ in pictures)


def test_a_change_that_is_not_on_the_page_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check fails where it has to."""
    for name in ("api.md", "cli.md", "conformance.md"):
        text = (DOCS / name).read_text("utf-8")
        (tmp_path / name).write_text(
            text.replace("| `", "| `x", 1) if name != "conformance.md" else text + "x", "utf-8"
        )
    monkeypatch.setattr(generated_pages, "DOCS", tmp_path)
    assert [generated_pages.main(["--check", name]) for name in ("api", "cli", "conformance")] == [1, 1, 1]


def test_an_unknown_name_of_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        generated_pages.main(["nothing"])
    assert "nothing is called nothing; there are cli, api" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_pages_of_the_reference_are_not_committed() -> None:
    done = subprocess.run(["git", "ls-files", "docs/api"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == ""
