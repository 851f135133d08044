"""What is a command, what is a message, and what a model's text may do to a terminal."""

from __future__ import annotations

import inspect

import pytest

from lilims.core.errors import UsageError
from lilims.ui.terminal.chat import Chat
from lilims.ui.terminal.screen import harmless
from lilims.ui.terminal.slash import COMMANDS, Typed, help_text, parse

LINES = {
    "hello": Typed(None, "hello"),
    "/help": Typed("help", ""),
    "/save  a b.json ": Typed("save", "a b.json"),
    "/edit one\ntwo": Typed("edit", "one\ntwo"),
    "/usr/bin is a folder": Typed(None, "/usr/bin is a folder"),
    "/": Typed(None, "/"),
    "/ quit": Typed(None, "/ quit"),
    "//quit": Typed(None, "/quit"),
    " /quit": Typed(None, " /quit"),
    "3/4": Typed(None, "3/4"),
    "": Typed(None, ""),
}


@pytest.mark.parametrize(("line", "typed"), LINES.items(), ids=[repr(line) for line in LINES])
def test_lines(line: str, typed: Typed) -> None:
    assert parse(line) == typed


@pytest.mark.parametrize("line", ["/nosuch", "/Quit", "/exit now"])
def test_an_unknown_command_says_so(line: str) -> None:
    with pytest.raises(UsageError, match="there is no command /"):
        parse(line)


def test_help_has_every_command_and_the_chat_obeys_each() -> None:
    source = inspect.getsource(Chat.__init__)
    for name in COMMANDS:
        assert f"/{name}" in help_text()
        assert f'"{name}": self.' in source


TEXTS = {
    "plain": ("a\tb\nc é 🙂", "a\tb\nc é 🙂"),
    "colours": ("\x1b[31mred", "\\x1b[31mred"),
    "the title": ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
    "C1": ("\x9b2J", "\\x9b2J"),
    "writing backwards": ("a\u202eb", "a\\u202eb"),
    "overwriting": ("a\rb\x08", "a\\rb\\x08"),
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.values(), ids=TEXTS)
def test_a_model_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert harmless(text) == shown
