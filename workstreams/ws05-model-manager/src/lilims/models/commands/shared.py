"""What several commands of the model manager say and ask in one way.

Knows terminals and words. Must not know models.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from lilims.core.console import one_line
from lilims.core.errors import UsageError

__all__ = ["ask", "destructive", "safe", "when"]

F = TypeVar("F", bound=Callable[..., Any])


def destructive(function: F) -> F:
    """The options --yes and --dry-run of a command that removes something."""
    function = click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")(function)
    return click.option("--yes", is_flag=True, help="Remove without asking.")(function)


def ask(question: str, *, yes: bool) -> None:
    """Asks on a terminal, unless `yes`.

    Raises:
        UsageError: there is no terminal to ask at.
        click.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask at", hint="add --yes")
    click.confirm(question, abort=True, err=True)


def safe(text: str) -> str:
    """Text from outside for a cell or a line: no control characters, no markup."""
    from rich.markup import escape

    return escape(one_line(text))


def when(seconds: float | None) -> str:
    """A time for people: the day, and for the last day the minute."""
    if seconds is None:
        return "never"
    then, now = datetime.datetime.fromtimestamp(seconds), datetime.datetime.now()
    return then.strftime("%Y-%m-%d %H:%M" if now - then < datetime.timedelta(days=1) else "%Y-%m-%d")
