"""What may be typed beside messages: `/save`, `/reset` and the like.

Knows names, arguments and help. Must not know what they do (chat.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lilims.core.errors import UsageError

__all__ = ["COMMANDS", "Typed", "help_text", "parse"]

COMMANDS: dict[str, tuple[str, str]] = {
    "help": ("", "this list"),
    "regen": ("", "answer the last question again"),
    "edit": ("[TEXT]", "ask TEXT instead of the last question; without TEXT, change it"),
    "reset": ("", "begin anew; the system message stays"),
    "save": ("[FILE]", "save the conversation and its KV cache"),
    "load": ("FILE", "go on with a saved conversation"),
    "stats": ("", "tokens, speed, how full the context is"),
    "model": ("[NAME]", "go on with another model; without NAME, list them"),
    "quit": ("", "end; so do Ctrl-D, and Ctrl-C twice"),
}
"""Name → its argument, what it does."""

_COMMAND = re.compile(r"/([A-Za-z]+)(?:[ \t]+(.*))?", re.S)


@dataclass(frozen=True)
class Typed:
    """A message, or a command with its argument.

    Attributes:
        command: its name; None of a message.
        text: the message or the argument.
    """

    command: str | None
    text: str


def parse(line: str) -> Typed:
    """What a line is. `//…` is a message that begins with one slash; so is what no command looks like, as `/usr/bin`.

    Raises:
        UsageError: it looks like a command, and there is none of that name.
    """
    if line.startswith("//"):
        return Typed(None, line[1:])
    found = _COMMAND.fullmatch(line.rstrip())
    if found is None:
        return Typed(None, line)
    if found[1] not in COMMANDS:
        raise UsageError(
            f"there is no command /{found[1]}", hint="/help lists them; `//` begins a message with a slash"
        )
    return Typed(found[1], (found[2] or "").strip())


def help_text() -> str:
    """The commands and keys, for people."""
    rows = [(f"/{name} {argument}".rstrip(), what) for name, (argument, what) in COMMANDS.items()]
    rows += [
        ("Enter", "sends"),
        ("Alt-Enter, or \\ and Enter", "another line"),
        ("Ctrl-C", "stops the answer; what was said so far stays"),
        ("Up, Down", "what was typed before"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {what}" for name, what in rows)
