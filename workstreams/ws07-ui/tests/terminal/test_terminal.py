"""`lilims chat` at a real terminal: Ctrl-C in an answer, several lines, history, resuming."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from .helpers import at_terminal, contents

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
ENDLESS = ("--ignore-eos", "--context-policy", "sinks", "--temp", "1", "--threads", "1", "--no-history")
SHORT = ("--ignore-eos", "-n", "8", "--temp", "0", "--threads", "1", "--no-history")


def ready(terminal: Any) -> None:
    terminal.expect(r"\x1b\[\?2004h")  # a prompt begins: pasted text is told apart from now on


def ended(terminal: Any) -> int:
    import pexpect

    terminal.expect(pexpect.EOF)
    terminal.close()
    return int(terminal.exitstatus if terminal.exitstatus is not None else -terminal.signalstatus)


def test_ctrl_c_stops_the_answer_and_not_the_program(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    terminal = at_terminal("chat", *ENDLESS, "--session", path)
    ready(terminal)
    terminal.send("Once upon a time\r")
    terminal.expect(r"\w+ \w+ \w+ \w+ \w+ \w+ \w+")  # it tells
    terminal.sendintr()
    terminal.expect("stopped")
    ready(terminal)
    terminal.send("/stats\r")
    terminal.expect("2 messages, 1 answers")
    ready(terminal)
    terminal.send("One day\r")
    terminal.expect(r"\w+ \w+ \w+ \w+")
    terminal.sendintr()
    terminal.expect("stopped")
    ready(terminal)
    terminal.sendintr()
    terminal.expect("Ctrl-C again ends")
    ready(terminal)
    terminal.sendintr()
    assert ended(terminal) == 0
    messages = json.loads(path.read_text("utf-8"))["messages"]
    assert [one["role"] for one in messages] == ["user", "assistant"] * 2
    assert all(contents(messages))


@pytest.mark.parametrize("end", ["/quit\r", "\x04"], ids=["quit", "Ctrl-D"])
def test_it_ends(end: str, home: Path) -> None:
    terminal = at_terminal("chat", *SHORT)
    ready(terminal)
    terminal.send(end)
    assert ended(terminal) == 0


def test_a_line_after_ctrl_c_counts_anew(home: Path) -> None:
    terminal = at_terminal("chat", *SHORT)
    for _ in range(2):
        ready(terminal)
        terminal.sendintr()
        terminal.expect("Ctrl-C again ends")
        ready(terminal)
        terminal.send("/nosuch\r")
        terminal.expect("there is no command /nosuch")
    ready(terminal)
    terminal.send("/quit\r")
    assert ended(terminal) == 0


def test_several_lines_are_one_message(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    terminal = at_terminal("chat", *SHORT, "--session", path)
    ready(terminal)
    terminal.send("one\\\r")
    terminal.send("two\x1b\r")  # Alt-Enter
    terminal.send("three\r")
    ready(terminal)
    terminal.send("\x1b[200~pasted\ntwice\x1b[201~\r")
    ready(terminal)
    terminal.send("/quit\r")
    assert ended(terminal) == 0
    asked = contents(json.loads(path.read_text("utf-8"))["messages"])[::2]
    assert [one.strip() for one in asked] == ["one\ntwo\nthree", "pasted\ntwice"]


def test_edit_gives_the_question_back_to_be_changed(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    terminal = at_terminal("chat", *SHORT, "--session", path)
    ready(terminal)
    terminal.send("Once upon a dog\r")
    ready(terminal)
    terminal.send("/edit\r")
    ready(terminal)
    terminal.expect("Once upon a dog")
    terminal.send("\x7f\x7f\x7fcat\r")
    ready(terminal)
    terminal.send("/quit\r")
    assert ended(terminal) == 0
    assert contents(json.loads(path.read_text("utf-8"))["messages"])[0] == "Once upon a cat"


def test_history_is_private_and_can_be_left_out(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import shutil

    own = tmp_path / "home"
    shutil.copytree(home / "models", own / "models")
    kept = [one for one in SHORT if one != "--no-history"]
    for options in (SHORT, kept):
        terminal = at_terminal("chat", *options, LILIMS_HOME=str(own))
        ready(terminal)
        terminal.send("Once upon a secret\r")
        ready(terminal)
        terminal.send("/quit\r")
        assert ended(terminal) == 0
        assert (own / "chat-history").exists() == (options is kept)
    assert "Once upon a secret" in (own / "chat-history").read_text("utf-8")
    assert stat.S_IMODE((own / "chat-history").stat().st_mode) == 0o600
    terminal = at_terminal("chat", *kept, LILIMS_HOME=str(own))
    ready(terminal)
    terminal.send("\x1b[A\x1b[A")  # Up, Up
    terminal.expect("Once upon a secret")
    terminal.sendintr()
    ready(terminal)
    terminal.sendintr()
    assert ended(terminal) == 0


def test_json_at_a_terminal_is_refused(home: Path) -> None:
    terminal = at_terminal("chat", "--json")
    terminal.expect("--json is for conversations from a pipe")
    assert ended(terminal) == 2
