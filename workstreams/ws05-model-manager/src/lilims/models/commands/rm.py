"""Remove installed models.

Knows what is asked and said. Must not know how a model is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console
from lilims.core.errors import UsageError

from .shared import ask, destructive, safe

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..store import Installed

__all__ = ["command"]


@cli.command("rm", epilog="Examples: lilims rm tiny   ·   lilims rm tiny@1.0.0 other --yes   ·   lilims rm 'tiny@<2'")
@click.argument("models", nargs=-1, metavar="MODEL...")
@click.option("-m", "--model", "more", metavar="MODEL", multiple=True, help="The same as MODEL.")
@destructive
def command(models: tuple[str, ...], more: tuple[str, ...], yes: bool, dry_run: bool) -> None:
    """Removes each MODEL: an installed name, with @VERSION or a range where several versions are installed.

    A model that a process uses is not removed. Pinned models are: a pin keeps `lilims gc` away, not you.
    """
    from ..store import disk_bytes, matching, remove

    if not (models or more):
        raise UsageError("no model is named", hint="`lilims ls` shows what is installed")
    found = list(dict.fromkeys(one for model in (*models, *more) for one in matching(model)))
    size = disk_bytes([one.folder for one in found])
    if not dry_run:
        ask(f"Remove {', '.join(one.reference for one in found)} ({bytes_text(size)})?", yes=yes)
        for one in found:
            remove(one)
    value = {
        "removed": [] if dry_run else [one.reference for one in found],
        "would_remove": [one.reference for one in found] if dry_run else [],
        "bytes": size,
    }
    console.result("removal", value, lambda out: _draw(out, found, would=dry_run))


def _draw(out: RichConsole, found: Sequence[Installed], *, would: bool) -> None:
    for one in found:
        out.print(f"{'would remove' if would else 'removed'} {safe(one.reference)}")
