"""List the installed models with size, last use, and what cannot run and why.

Knows how the list is drawn. Must not know how models are stored.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

from .shared import safe, when

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["command"]

_SORT = {"name": lambda one: 0, "size": lambda one: -one["bytes"], "used": lambda one: -(one["last_used"] or 0)}


@cli.command("ls", epilog="Example: lilims ls 'tiny*' --sort used")
@click.argument("pattern", required=False)
@click.option(
    "--sort", type=click.Choice(list(_SORT)), default="name", show_default=True, help="Largest, newest first."
)
def command(pattern: str | None, sort: str) -> None:
    """The installed models, or those whose name fits PATTERN (* and ? stand for anything).

    A model that cannot run here stands in red, with the reason below the list.
    """
    from ..condition import about
    from ..space import quota, used
    from ..store import all_models, disk_bytes

    models = [model for model in all_models() if fnmatch.fnmatchcase(model.name, pattern or "*")]
    found = sorted((about(model) for model in models), key=_SORT[sort])
    total = disk_bytes([model.folder for model in models])
    value = {"models": found, "bytes": total, "quota": quota(), "used": used() if quota() else None}
    console.result("models", value, lambda out: _draw(out, value))


def _draw(out: RichConsole, value: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    if not value["models"]:
        console.note("no model is installed; `lilims pull` and `lilims convert` bring some, `lilims run` has its own")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "version", "scheme", "context", "size", "last used", ""):
        table.add_column(column, justify="right" if column in ("context", "size") else "left", no_wrap=True)
    for one in value["models"]:
        notes = [words for key, words in (("pinned", "pinned"), ("built_in", "built in")) if one[key]]
        table.add_row(
            safe(one["name"]),
            one["version"],
            safe(one["scheme"] or ("package" if one["contract"] else "?")),
            str(one["context"] or ""),
            bytes_text(one["bytes"]),
            when(one["last_used"]),
            ", ".join(notes + ["cannot run"] * bool(one["problem"])),
            style="red" if one["problem"] else None,
        )
    out.print(table)
    for one in value["models"]:
        if one["problem"]:
            out.print(f"[red]{safe(one['name'])}@{one['version']}[/]: {safe(one['problem'])}")
    room = f" of {bytes_text(value['quota'])}, with caches {bytes_text(value['used'])}" if value["quota"] else ""
    out.print(f"[dim]{len(value['models'])} installed, {bytes_text(value['bytes'])}{room}[/]")
