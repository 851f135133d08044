"""tools/issue_forms.py: the forms and labels in .github are current and cover what there is."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

import issue_forms

ROOT = Path(__file__).resolve().parent.parent


def test_the_files_are_current() -> None:
    assert issue_forms.stale(ROOT) == [], "run: python tools/issue_forms.py"


def test_every_workstream_and_every_spec_folder_has_a_form() -> None:
    folders = {p.name for parent in ("workstreams", "specs") for p in (ROOT / parent).iterdir() if p.is_dir()}
    folders = {name for name in folders if name.startswith("ws")}
    assert folders <= issue_forms.PARTS.keys()
    assert len(folders) >= 6


@pytest.mark.parametrize("folder", sorted(p.name for p in (ROOT / "workstreams").iterdir() if p.is_dir()))
def test_a_workstreams_files_get_its_label(folder: str) -> None:
    path = f"workstreams/{folder}/src/x.py"
    assert [label for label, part in issue_forms.PARTS.items() if any(fnmatch(path, glob) for glob in part[1])] == [
        folder
    ]


def test_a_changed_form_is_seen(tmp_path: Path) -> None:
    for path, text in issue_forms.wanted().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert issue_forms.stale(tmp_path) == []
    (tmp_path / ".github/ISSUE_TEMPLATE/ws01-conversion.yml").write_text("name: x\n")
    (tmp_path / ".github/ISSUE_TEMPLATE/ws99-old.yml").write_text("name: x\n")
    assert issue_forms.stale(tmp_path) == [
        ".github/ISSUE_TEMPLATE/ws01-conversion.yml",
        ".github/ISSUE_TEMPLATE/ws99-old.yml",
    ]
