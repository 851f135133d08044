"""List what a running server has in memory, or unload it.

Knows the server's two paths for that. Must not know what a server does with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console, one_line
from lilims.core.errors import LilimsError
from lilims.core.settings import settings

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["ServerError", "command"]

_SECONDS = 10.0


class ServerError(LilimsError):
    """A server does not answer, or refuses."""

    next_step = "`lilims serve` starts one; --url says where it is"


@cli.command("ps", epilog="Example: lilims ps --unload stories")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Where the server is.")
@click.option("--api-key", metavar="KEY", help="Its key [default: LILIMS_API_KEY].")
@click.option("--unload", metavar="NAME", help="Take this model out of memory, once nobody uses it.")
def command(url: str, api_key: str | None, unload: str | None) -> None:
    """Models that a running `lilims serve` has in memory, and how many requests run and wait."""
    key = api_key or settings().api_key
    if unload is not None:
        done = _ask(url, key, "POST", "/api/unload", {"model": unload})
        console.result("unloaded", done)
        console.note(f"{done['model']} is unloaded" if done["unloaded"] else f"{done['model']} was not in memory")
        return
    found = _ask(url, key, "GET", "/api/ps", None)
    console.result("loaded", found, lambda out: _draw(out, found))


def _ask(url: str, key: str, method: str, path: str, body: Any) -> dict[str, Any]:
    import httpx2

    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx2.Client(base_url=url, timeout=_SECONDS, headers=headers, trust_env=False) as client:
            answer = client.request(method, path, json=body)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as exc:
        raise ServerError(f"no lilims server answers: {one_line(str(exc))}", where=url) from exc
    try:
        value = answer.json()
    except ValueError:  # a page of some other server
        value = None
    if not isinstance(value, dict):
        raise ServerError("what answers is no lilims server", where=url)
    if answer.is_error:
        error = value.get("error")
        message = error.get("message") if isinstance(error, dict) else None
        raise ServerError(
            str(message or f"status {answer.status_code}"), where=url, hint="`lilims ls` lists the models"
        )
    return value


def _draw(out: RichConsole, found: dict[str, Any]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    if not found["models"]:
        console.note("no model is in memory; the first request loads one")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "executor", "context", "weights", "caches", "requests", "until"):
        table.add_column(column, justify="left" if column in ("name", "executor") else "right", no_wrap=True)
    for one in found["models"]:
        until = (
            "in use" if one["requests"] else "for ever" if one["expires_in"] is None else f"{one['expires_in']:.0f} s"
        )
        caches = f"{one['caches']} of {one['most_caches']} × {bytes_text(one['cache_bytes'])}"
        table.add_row(
            escape(one_line(one["name"])), one["executor"], str(one["context"]), bytes_text(one["weight_bytes"]),
            caches, str(one["requests"]), until,
        )  # fmt: skip
    out.print(table)
    out.print(f"[dim]{found['running']} running, {found['waiting']} waiting[/]")
