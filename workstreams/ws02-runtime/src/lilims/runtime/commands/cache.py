"""List what is kept to load models faster, or delete it.

Knows the portable executor's store. Must not delete anything that cannot be made again.
"""

from __future__ import annotations

import datetime
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console
from lilims.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..portable.cache.store import Store, Stored

__all__ = ["command"]


@cli.command("cache", epilog="LILIMS_CACHE_GB is the most that it may take; 0 keeps nothing.")
@click.option("--purge", is_flag=True, help="Delete it all. Models are then prepared again when they are loaded.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
def command(purge: bool, yes: bool, dry_run: bool) -> None:
    """What the portable executor keeps of each model: graphs, and weights as its kernels want them."""
    from ..portable.cache import settings_store

    store = settings_store()
    entries = store.entries()
    size = sum(entry.size for entry in entries)
    delete = purge and not dry_run and bool(entries)
    if delete:
        _ask(yes, f"Delete {len(entries)} entries, {bytes_text(size)}, of {store.folder}?")
        for entry in entries:
            store.drop(entry.key)
    value = {
        "folder": str(store.folder),
        "limit": store.limit,
        "bytes": size,
        "entries": [asdict(entry) for entry in entries],
        "deleted": delete,
    }
    console.result("cache", value, lambda out: _draw(out, store, entries, delete, would=purge and dry_run))


def _ask(yes: bool, question: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask at", hint="add --yes")
    click.confirm(question, abort=True, err=True)


def _draw(out: RichConsole, store: Store, entries: list[Stored], deleted: bool, *, would: bool) -> None:
    from rich.markup import escape

    for entry in sorted(entries, key=lambda entry: -entry.used):
        used = datetime.datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        out.print(f"{bytes_text(entry.size):>10}  {used}  {escape(entry.label)}", soft_wrap=True)
    total = bytes_text(sum(entry.size for entry in entries))
    what = "deleted: " if deleted else "would be deleted: " if would else ""
    where = f"{total} of {bytes_text(store.limit)} in {escape(str(store.folder))}"
    out.print(f"{what}{where}" if entries else f"nothing is kept in {escape(str(store.folder))}", soft_wrap=True)
