"""How a pull is shown while it runs: a line a file.

Knows terminals. Must not know models.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

from lilims.core.console import console, one_line
from lilims.core.events import emit

__all__ = ["drawn"]

_MOST_LINES = 12  # files that have a line of their own
_LONGEST = 40  # characters of a name

Progress = Callable[[str, int, int | None], None]


@contextlib.contextmanager
def drawn() -> Iterator[Progress]:
    """A function that is told of progress; draws it on a terminal, and tells listeners (`pull.file`) always."""

    def tell(name: str, done: int, total: int | None) -> None:
        emit("pull.file", name=name, done=done, total=total)

    if console.quiet or console.json or not sys.stderr.isatty():
        yield tell
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn())
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()
    with Progress(*columns, console=console.stderr(), transient=True) as bar:

        def show(name: str, done: int, total: int | None) -> None:
            tell(name, done, total)
            with lock:
                if name not in tasks and len(tasks) < _MOST_LINES:
                    tasks[name] = bar.add_task(_short(name), total=total)
                if name in tasks:
                    bar.update(tasks[name], completed=done, total=total, visible=total is None or done < total)

        yield show


def _short(name: str) -> str:
    from rich.markup import escape

    name = one_line(name)
    return escape(name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}")
