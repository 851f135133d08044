"""docs/chat.md: its commands run, in their order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lilims.ui.terminal.slash import COMMANDS

GUIDE = Path(__file__).parents[4] / "docs" / "chat.md"


@pytest.mark.skipif(sys.platform == "win32", reason="the examples are for a POSIX shell")
def test_the_examples_run(home: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text("utf-8"), re.M | re.S)
    lines = [line for block in blocks[1:] for line in block.splitlines()]  # the first block needs a terminal
    assert len(lines) == 7
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "lilims"
    program.write_text(f"#!{sys.executable}\nfrom lilims.core.cli import main\nmain()\n")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    said = ""
    for line in lines:
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert done.stdout.strip() or ">" in line, line
        said = done.stderr
    assert re.search(r"[123] of \d+ prompt tokens run, \d\d from the cache", said)


def test_it_has_every_command() -> None:
    text = GUIDE.read_text("utf-8")
    assert [name for name in COMMANDS if f"`/{name}" not in text] == []
