"""docs/web-chat.md: its example runs, its figures are those of the set, its messages are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lilims.ui.web import page

ROOT = Path(__file__).parents[4]
GUIDE = (ROOT / "docs/web-chat.md").read_text("utf-8")


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", GUIDE, re.M | re.S)
    exec(compile(example, "web-chat.md", "exec", dont_inherit=True), {})
    assert capsys.readouterr().out == "['Foxes']\n"


def test_the_table_has_the_sizes_of_the_set() -> None:
    lines = (Path(__file__).parent / "moderation_set.jsonl").read_text("utf-8").splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    words = {"insult": "insults", "threat": "threats", "veiled": "contempt", "story": "stories", "hard": "hard words"}
    for kind in set(kinds):
        (row,) = [row for row in GUIDE.splitlines() if re.match(rf"\| .*{words.get(kind, kind)}.* \|  ?\d+ \|", row)]
        assert int(row.split("|")[2]) == kinds.count(kind), row


def test_every_message_is_in_the_code() -> None:
    code = "\n".join(path.read_text("utf-8") for path in page.STATIC.parent.glob("*.py"))
    code = re.sub(r"\{[^{}]*\}", "…", code)
    for message in re.findall(r"^\| `([^`]+)` \|", GUIDE.split("## Messages")[1], re.M):
        core = max(message.replace("conversations.sqlite3: ", "").split("…"), key=len).strip(": ")
        assert core in code, message
