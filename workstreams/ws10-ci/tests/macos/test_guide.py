"""docs/macos-ci.md: its tables are the code's, its examples run, what it says of the workflows is so."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from lilims.ci.commands.ci import command
from lilims.ci.macos.guide import filled

from .conftest import converts

ROOT = Path(__file__).parents[4]
GUIDE = ROOT / "docs" / "macos-ci.md"


def test_the_tables_are_the_codes() -> None:
    page = GUIDE.read_text("utf-8")
    assert filled(page) == page, "python -m lilims.ci.macos.guide docs/macos-ci.md writes them"


def test_a_page_without_a_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="<!-- outcomes -->"):
        filled("# A page\n")


@converts
def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the portable executor, in processes of their own, and of the whole ladder one probe."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text("utf-8"), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        name, part, *arguments = shlex.split(line, comments=True)
        assert (name, part) == ("lilims", "ci")
        if "--only" not in arguments:
            arguments += ["--only", "negative-scale"]
        done = CliRunner().invoke(command, [*arguments, "--executor", "portable", "--limit", "300"])
        assert done.exit_code == 0, f"{line}: {done.output}"
    for kind, names in {"probes": ["negative-scale"], "behaviour": ["overflow", "stop-strings"]}.items():
        report = json.loads((tmp_path / f"{kind}.json").read_text())
        assert report["kind"] == kind and report["passed"] and report["stand_in"]
        assert sorted(one["name"] for one in report["results"]) == names
        if kind == "probes":
            assert 0 < report["results"][0]["figures"]["rms_share"] < 0.01
