"""Fetch a text that models are measured on.

Knows options and how the texts are listed. Must not know how one is fetched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["command"]


@cli.command("data", epilog="Example: lilims data wikitext2 && lilims eval stories --text wikitext2")
@click.argument("name", required=False)
@click.option("--force", is_flag=True, help="Fetch it again; it has to be the same.")
def command(name: str | None, force: bool) -> None:
    """Download the text NAME (wikitext2, tinystories), check it and keep it; without a NAME list them.

    Nothing else is sent than the request for it. Where the network is off, any file does: lilims eval MODEL --text FILE
    """
    from lilims.core.errors import UsageError
    from lilims.core.events import Event, listening

    from ..evaluation.download import SOURCES, fetch, is_there, pinned

    if name is None:
        rows = [{"name": n, "there": is_there(n), "title": source.title} for n, source in SOURCES.items()]
        console.result("texts", {"texts": rows}, lambda out: _list(out, rows))
        return
    if name not in SOURCES:
        raise UsageError(f"no text {name!r}", hint=f"there are {', '.join(SOURCES)}; a file needs no fetching")
    with console.progress(f"fetching {name}", total=1.0) as advance:
        seen = 0.0

        def show(event: Event) -> None:
            nonlocal seen
            if event.name == "data.block" and event.fields["total"]:
                now = event.fields["done"] / event.fields["total"]
                advance(now - seen, bytes_text(event.fields["done"]))
                seen = now

        with listening(show):
            path = fetch(name, force=force)
    about = pinned(name)
    size = path.stat().st_size
    value = {"name": name, "path": str(path), "bytes": size, "text_sha256": about.get("text_sha256")}
    console.result(
        "text",
        value,
        lambda out: out.print(f"{name}: {bytes_text(size)}, SHA-256 {value['text_sha256']}\n[dim]{path}[/]"),
    )


def _list(out: RichConsole, rows: list[dict[str, object]]) -> None:
    for row in rows:
        out.print(f"[bold]{row['name']:<12}[/] {'here    ' if row['there'] else 'to fetch'}  [dim]{row['title']}[/]")
