"""Specs: the published schema, each field's limits, and what holds between specs; findings name file and line."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from lilims.agents.catalogue import Catalogue
from lilims.agents.globs import check
from lilims.agents.spec import GLOB_PATTERN, parse_task, schema, schema_file

from .conftest import spec
from .test_globs import BAD, COVERED

PATH = "specs/ws09-docs/one-2a2a.yaml"


def test_the_published_schema_is_the_models() -> None:
    text = schema_file().read_text("utf-8")
    assert json.loads(text) == schema(), "write it anew: python -m lilims.agents.spec > schema/task.schema.json"
    assert schema()["additionalProperties"] is False
    needed = {"schema_version", "id", "title", "workstream", "size", "touches", "context", "instructions", "acceptance"}
    assert set(schema()["required"]) == needed


def test_the_schemas_patterns_agree_with_the_checks() -> None:
    for glob in [*BAD, *(g for g, _path, _wanted in COVERED)]:
        if len(glob) > 300 or ".git" in glob.lower() or "a**" in glob or glob.endswith("\n"):
            continue  # said by other words of the schema, or by the check alone
        try:
            check(glob)
            good = True
        except ValueError:
            good = False
        assert bool(re.search(GLOB_PATTERN, glob)) is good, glob


def test_a_valid_spec() -> None:
    task, document, findings = parse_task(spec("one-2a2a").encode(), PATH)
    assert findings == [] and document is not None
    assert task is not None and task.acceptance[0].timeout_s == 300


def command(**changes: Any) -> dict[str, Any]:
    return {"acceptance": [{"run": ["true"], "fails_now": "nothing", **changes}]}


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "unknown-field": ({"owner": "me"}, "owner: Extra inputs"),
    "no-acceptance": ({"acceptance": None}, "acceptance: Field required"),
    "empty-acceptance": ({"acceptance": []}, "acceptance: "),
    "no-touches": ({"touches": []}, "touches: "),
    "schema-version": ({"schema_version": 2}, "schema_version: Input should be 1"),
    "schema-version-text": ({"schema_version": "1"}, "schema_version: "),
    "id-shell": ({"id": "a;rm -rf-2a2a"}, "id: "),
    "id-substitution": ({"id": "$(id)-2a2a"}, "id: "),
    "id-path": ({"id": "../x-2a2a"}, "id: "),
    "id-upper": ({"id": "One-2a2a"}, "id: "),
    "id-no-suffix": ({"id": "one-word"}, "id: "),
    "id-option": ({"id": "-n-2a2a"}, "id: "),
    "id-newline": ({"id": "one-2a2a\n"}, "id: "),
    "id-long": ({"id": "a" * 70 + "-2a2a"}, "id: "),
    "id-lock": ({"id": "_locks-2a2a"}, "id: "),
    "title-control": ({"title": "red \x1b[31m title"}, "title: must be one line"),
    "title-lines": ({"title": "two\nlines"}, "title: must be one line"),
    "workstream-path": ({"workstream": "../ws09"}, "workstream: "),
    "touches-absolute": ({"touches": ["/etc/passwd"]}, "touches.0: must be relative"),
    "touches-up": ({"touches": ["docs", "docs/../../x"]}, "touches.1: must be relative"),
    "touches-git": ({"touches": ["docs/.git/hooks"]}, "touches.0: must not reach into .git"),
    "touches-all": ({"touches": ["**"]}, "touches.0: must begin with a name"),
    "cwd-up": (command(cwd="../.."), "acceptance.0.cwd: must be '.' or a relative"),
    "cwd-absolute": (command(cwd="/tmp"), "acceptance.0.cwd: must be"),
    "cwd-drive": (command(cwd="C:\\x"), "acceptance.0.cwd: must be"),
    "cwd-hidden-up": (command(cwd="a/./../b"), "acceptance.0.cwd: must be"),
    "run-text": (command(run="echo hi; rm -rf /"), "acceptance.0.run: "),
    "run-empty": (command(run=[]), "acceptance.0.run: "),
    "run-nul": (command(run=["a\0b"]), "acceptance.0.run.0: "),
    "no-reason": (command(fails_now=None), "acceptance.0.fails_now: "),
    "timeout": (command(timeout_s=10**9), "acceptance.0.timeout_s: "),
    "timeout-bool": (command(timeout_s=True), "acceptance.0.timeout_s: "),
    "platform": (command(platform="beos"), "acceptance.0.platform: "),
    "lease": ({"lease_minutes": 10**7}, "lease_minutes: "),
    "size": ({"size": "huge"}, "size: "),
    "depends-shell": ({"depends_on": ["`id`"]}, "depends_on.0: "),
    "list-for-text": ({"context": ["x"]}, "context: "),
    "not-a-mapping": ({}, ""),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_specs_are_refused_with_their_line(name: str) -> None:
    changes, words = INVALID[name]
    text = spec("one-2a2a", **changes) if changes else "[1, 2]"
    task, _document, findings = parse_task(text.encode(), PATH)
    assert task is None
    assert any(finding.message.startswith(words) for finding in findings), findings
    finding = next(f for f in findings if f.message.startswith(words))
    field = words.split(":")[0].split(".")[0]
    if changes and changes.get(field) is not None:
        first = next(n for n, line in enumerate(text.splitlines(), 1) if f'"{field}"' in line)
        assert finding.line >= first, "the line is the field's or a line below it"
        assert str(finding).startswith(f"{PATH}:{finding.line}: ")


def catalogue(tmp_path: Path, files: dict[str, str]) -> Catalogue:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Catalogue.of_folder(tmp_path)


D = "specs/ws09-docs/"
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "cycle": (
        {
            f"{D}a-2a2a.yaml": spec("a-2a2a", depends_on=["b-2a2a"]),
            f"{D}b-2a2a.yaml": spec("b-2a2a", depends_on=["c-2a2a"]),
            f"{D}c-2a2a.yaml": spec("c-2a2a", depends_on=["a-2a2a"]),
        },
        r"specs/ws09-docs/[abc]-2a2a\.yaml:8: dependency: a cycle: .-2a2a → .-2a2a → .-2a2a → .-2a2a",
    ),
    "itself": ({f"{D}a-2a2a.yaml": spec("a-2a2a", depends_on=["a-2a2a"])}, r":8: dependency: a cycle: a-2a2a → a-2a2a"),
    "missing": (
        {f"{D}a-2a2a.yaml": spec("a-2a2a", depends_on=["z-2a2a"])},
        r":8: dependency: there is no task 'z-2a2a'",
    ),
    "other-id": ({f"{D}a-2a2a.yaml": spec("b-2a2a")}, r"a-2a2a\.yaml:3: name: id 'b-2a2a' is not the file's name"),
    "other-folder": ({"specs/ws01-x/a-2a2a.yaml": spec("a-2a2a")}, r":5: name: workstream 'ws09-docs'"),
    "twice": (
        {f"{D}a-2a2a.yaml": spec("a-2a2a"), "specs/ws08-x/a-2a2a.yaml": spec("a-2a2a", workstream="ws08-x")},
        r"specs/ws09-docs/a-2a2a\.yaml:1: name: the same id as specs/ws08-x/a-2a2a\.yaml",
    ),
    "stranger": ({f"{D}notes.txt": "x"}, r"notes\.txt:1: name: is neither"),
    "yml": ({f"{D}a-2a2a.yml": spec("a-2a2a")}, r"a-2a2a\.yml:1: name: is neither"),
    "record-of-nothing": ({f"{D}a-2a2a.done.json": "{}"}, r"a-2a2a\.done\.json:1: record: there is no spec"),
    "bad-record": (
        {f"{D}a-2a2a.yaml": spec("a-2a2a"), f"{D}a-2a2a.done.json": '{"task": 1}'},
        r"a-2a2a\.done\.json:1: record: not a completion record",
    ),
    "syntax": ({f"{D}a-2a2a.yaml": "a: 1\nb: ["}, r"a-2a2a\.yaml:[23]: yaml: not valid YAML"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_holds_between_specs(name: str, tmp_path: Path) -> None:
    files, pattern = WRONG[name]
    found = [str(finding) for finding in catalogue(tmp_path, files).lint()]
    assert any(re.search(pattern, line) for line in found), found


def test_good_specs_have_no_findings(tmp_path: Path) -> None:
    files = {
        f"{D}a-2a2a.yaml": spec("a-2a2a"),
        f"{D}b-2a2a.yaml": spec("b-2a2a", depends_on=["a-2a2a"]),
        "specs/README.md": "x",
        "specs/protocol.toml": "",
    }
    assert catalogue(tmp_path, files).lint() == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_in_specs_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text(spec("a-2a2a"))
    (tmp_path / "specs/ws09-docs").mkdir(parents=True)
    (tmp_path / "specs/ws09-docs/a-2a2a.yaml").symlink_to(tmp_path / "secret.yaml")
    found = Catalogue.of_folder(tmp_path)
    assert found.specs == {}
    assert [f.rule for f in found.lint()] == ["name"]
