"""Lines that people type: editing, several lines, history.

Knows prompt_toolkit, which is imported with the first prompt. Must not know what is typed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lilims.core.paths import home

__all__ = ["Editor", "history_file", "private_history"]

_KEPT = 500  # entries of the history that are kept
_CONTINUED = "\\"


def history_file() -> Path:
    """Where what was typed is kept."""
    return home() / "chat-history"


class Editor:
    """Reads messages of one or several lines.

    Enter sends; Alt-Enter, or a backslash at the end of a line, begins another line; pasted lines stay together.

    Args:
        words: the commands, completed with Tab.
        toolbar: what stands below the line.
        history: keep what is typed for the next time.
    """

    def __init__(self, words: Sequence[str], toolbar: Callable[[], str], *, history: bool) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.history import FileHistory, InMemoryHistory
        from prompt_toolkit.output import create_output
        from prompt_toolkit.shortcuts import CompleteStyle

        path = private_history() if history else None
        self._toolbar = toolbar
        self._session: Any = PromptSession(
            message=[("bold", "> ")],
            multiline=True,
            prompt_continuation="  ",
            history=InMemoryHistory() if path is None else FileHistory(path),
            completer=WordCompleter(list(words), sentence=True),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,  # the toolbar stands right below the line
            enable_history_search=True,
            key_bindings=_bindings(),
            bottom_toolbar=self._below,
            output=create_output(sys.stderr if sys.stderr.isatty() else sys.stdout),  # stdout is for answers
            style=_style(),
        )

    def read(self, default: str = "") -> str:
        """What is typed next.

        Args:
            default: what stands there to be changed.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            EOFError: Ctrl-D.
        """
        return str(self._session.prompt(default=default)).replace(f"{_CONTINUED}\n", "\n")

    def _below(self) -> Any:
        return [("class:toolbar", self._toolbar())]


def _bindings() -> Any:
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("enter")
    def _enter(event: Any) -> None:
        buffer = event.current_buffer
        if buffer.document.current_line_before_cursor.endswith(_CONTINUED):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _more(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def _style() -> Any:
    from prompt_toolkit.styles import Style

    return Style.from_dict({"bottom-toolbar": "noreverse", "toolbar": "noreverse ansibrightblack"})


def private_history() -> str | None:
    """The history's file, which only its owner can read, cut to its newest entries; None where it cannot be written."""
    path = history_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600))
        path.chmod(0o600)
        _cut(path)
        return str(path)
    return None


def _cut(path: Path) -> None:
    """Drops the oldest entries; prompt_toolkit begins each with an empty line and its time, `# …`."""
    entries = path.read_bytes().split(b"\n# ")
    if len(entries) > _KEPT + 1:
        from lilims.core.files import write_atomic

        write_atomic(path, b"".join(b"\n# " + entry for entry in entries[-_KEPT:]), private=True)
