"""The one place that prints: stdout is data, stderr is everything else.

Knows terminals, `--json`, `NO_COLOR`. Must not know what it prints. rich is imported only when something is drawn.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .errors import LilimsError

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["Console", "bytes_text", "console", "one_line"]


_WIDE = 160  # columns of a pipe or a file


def bytes_text(count: float) -> str:
    """A number of bytes for people, in decimal units as disks and App Store limits are given: 8.3 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


def one_line(text: str) -> str:
    """Text from outside as one line that cannot steer a terminal: control characters are shown, not sent."""
    flat = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)


def _finite(value: Any) -> Any:
    """The same value with null for NaN and infinities, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Console:
    """Output of a command. One object a process: `console`."""

    def __init__(self) -> None:
        self.json = False
        self.quiet = False

    def stderr(self) -> RichConsole:
        """A rich console on stderr, for tables, colours and progress. It honours NO_COLOR and TERM."""
        from rich.console import Console as RichConsole

        return RichConsole(stderr=True, highlight=False, emoji=False, soft_wrap=True)

    def stdout(self) -> RichConsole:
        """A rich console on stdout, for data that people read; where it is no terminal, tables are not cut to one."""
        from rich.console import Console as RichConsole

        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE
        return RichConsole(highlight=False, emoji=False, soft_wrap=True, width=width)

    def data(self, text: str, end: str = "\n") -> None:
        """Data on stdout, as it is, at once. Characters that the stream's encoding lacks are replaced."""
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + end)
        sys.stdout.flush()

    def result(self, kind: str, value: dict[str, Any], draw: Callable[[RichConsole], None] | None = None) -> None:
        """A command's result: with --json a versioned object on stdout, else drawn for people on stdout."""
        if self.json:
            self._object({"kind": kind, "schema_version": 1, **value})
        elif draw is not None:
            draw(self.stdout())

    def note(self, text: str) -> None:
        """A line for people, on stderr, unless -q."""
        if not self.quiet:
            self.stderr().print(text, markup=False)

    def error(self, error: LilimsError) -> None:
        """An error: one line and its hint on stderr; with --json also an object on stdout."""
        if self.json:
            self._object({"kind": "error", "schema_version": 1, "error": error.as_dict()})
        stderr = self.stderr()
        stderr.print("[bold red]error:[/] ", end="")
        stderr.print(one_line(str(error)), markup=False)
        if error.hint:
            stderr.print("[dim]hint:[/]  ", end="")
            stderr.print(one_line(error.hint), markup=False)

    def _object(self, value: dict[str, Any]) -> None:
        self.data(json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=2))

    @contextlib.contextmanager
    def progress(self, title: str, total: float | None) -> Iterator[Callable[[float, str], None]]:
        """A progress bar on stderr, on a terminal only; yields `advance(amount, label)`."""
        if self.quiet or self.json or not sys.stderr.isatty():
            yield lambda _amount, _label: None
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns: Sequence[Any] = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[label]}"),
        )
        with Progress(*columns, console=self.stderr(), transient=True) as bar:
            task = bar.add_task(title, total=total, label="")
            yield lambda amount, label: bar.update(task, advance=amount, label=label)


console = Console()
"""The output of this process."""
