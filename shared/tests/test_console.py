"""stdout is data, stderr is everything else; --json, NO_COLOR, hostile text."""

from __future__ import annotations

import io
import json
import sys

import pytest

from lilims.core.console import Console, bytes_text, one_line
from lilims.core.errors import LilimsError


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (8_300_000, "8.3 MB"),
        (6.4e8, "640.0 MB"),
        (2e12, "2.00 TB"),
    ],
)
def test_bytes_text(count: float, text: str) -> None:
    assert bytes_text(count) == text


def test_a_result_is_drawn_or_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.result("thing", {"a": 1}, draw=lambda out: out.print("drawn"))
    assert capsys.readouterr().out == "drawn\n"
    console.json = True
    console.result("thing", {"a": float("inf"), "b": [float("nan"), 1.5]}, draw=lambda out: out.print("drawn"))
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"kind": "thing", "schema_version": 1, "a": None, "b": [None, 1.5]}
    assert captured.err == ""


def test_an_error_is_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    Console().error(LilimsError("bad [bold]op[/]\nand :cat: \x1b[31mmore", where="p", hint="do this"))
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        r"error: p: bad [bold]op[/] and :cat: \x1b[31mmore",
        "hint:  do this",
    ]
    assert captured.out == ""


def test_an_error_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.json = True
    console.error(LilimsError("bad", where="p"))
    assert json.loads(capsys.readouterr().out) == {
        "kind": "error",
        "schema_version": 1,
        "error": {"type": "LilimsError", "message": "bad", "where": "p", "hint": None},
    }


def test_quiet_silences_notes_only(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.note("[x] a note")
    assert capsys.readouterr().err == "[x] a note\n"
    console.quiet = True
    console.note("a note")
    console.data("data")
    console.error(LilimsError("bad"))
    captured = capsys.readouterr()
    assert captured.out == "data\n"
    assert captured.err == "error: bad\n"


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def printed() -> str:
        out = io.StringIO()
        monkeypatch.setattr(out, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stderr", out)
        Console().stderr().print("[red]words[/]")
        return out.getvalue()

    assert printed() == "\x1b[31mwords\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed() == "words\n"


def test_data_that_the_encoding_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", newline=""))
    Console().data("naïve ✓")
    assert raw.getvalue() == b"na?ve ?\n"


def test_progress_is_silent_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress("title", 2) as advance:
        advance(1, "one")
    assert capsys.readouterr() == ("", "")


def test_one_line() -> None:
    assert one_line("a\n\tb  c\x07") == r"a b c\x07"
