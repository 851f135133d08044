"""Status, on, off, erase: whether records are made, what is kept of what, and an end to all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli, listeners
from lilims.core.console import bytes_text, console
from lilims.core.errors import StorageError, UsageError
from lilims.core.files import storage_errors, write_atomic
from lilims.core.privacy import do_not_track
from lilims.core.settings import settings

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["erase_command", "off_command", "on_command", "status_command"]


@cli.command("status")
def status_command() -> None:
    """Whether records are made, where, how many, and exactly what is kept."""
    from ..store import database

    path = database()
    size = sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*")) if path.is_file() else 0
    counts: dict[str, Any] = {"records": 0, "crashes": 0, "problem": None}
    try:
        counts |= _counts()
    except StorageError as exc:
        counts["problem"] = str(exc)
    value = {
        "on": listeners.is_on(),
        "switched_on": listeners.switch().is_file(),
        "do_not_track": do_not_track(),
        "file": str(path),
        "bytes": size,
        **counts,
        "days": settings().telemetry_days,
        "megabytes": settings().telemetry_mb,
        "kept": _kept(),
    }
    console.result("telemetry", value, lambda out: _draw_status(out, value))


@cli.command("on")
def on_command() -> None:
    """Begin to keep figures and crash reports on this machine; says what they are."""
    switch = listeners.switch()
    with storage_errors(switch):
        switch.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(switch, b"", private=True)
    value = {"on": listeners.is_on(), "switched_on": True, "kept": _kept()}
    console.result("telemetry", value, lambda out: out.print(_sentence(), markup=False))
    if not console.json:
        _draw_kept(console.stdout())
        console.note("`lilims telemetry off` ends it, `lilims telemetry erase` removes what was kept.")


@cli.command("off")
def off_command() -> None:
    """Keep nothing any more. What was kept stays until `lilims telemetry erase`."""
    switch = listeners.switch()
    with storage_errors(switch):
        switch.unlink(missing_ok=True)
    console.result("telemetry", {"on": False, "switched_on": False}, lambda out: out.print("Telemetry is off."))


@cli.command("erase")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def erase_command(yes: bool, dry_run: bool) -> None:
    """Remove all records and crash reports."""
    from ..store import Store, database

    path = database()
    try:
        counts = _counts()
    except StorageError:  # damaged, or not ours: there is nothing to count, and nothing to save
        counts = {"records": 0, "crashes": 0}
    told = f"{counts['records']} records and {counts['crashes']} crash reports"
    if not dry_run and path.is_file():
        if not yes:
            _ask(f"Remove {told}?")
        try:
            with Store.open(path) as store:
                store.erase()
        except StorageError:
            with storage_errors(path):
                for one in path.parent.glob(f"{path.name}*"):
                    one.unlink(missing_ok=True)
    value = {"removed": not dry_run, **counts}
    words = f"{told} would be removed." if dry_run else f"Removed {told}."
    console.result("telemetry-erase", value, lambda out: out.print(words, markup=False))


def _ask(question: str) -> None:
    import sys

    if console.json or not sys.stdin.isatty():
        raise UsageError("erasing has to be confirmed", hint="add --yes, or --dry-run to see what would go")
    click.confirm(question, abort=True, err=True)


def _counts() -> dict[str, int]:
    from ..store import Store

    store = Store.open_if_present()
    if store is None:
        return {"records": 0, "crashes": 0}
    with store:
        return {"records": store.count(), "crashes": len(store.crashes())}


def _kept() -> dict[str, dict[str, str]]:
    """Event → name → what it is."""
    from ..kept import EVENTS

    return {event: {field.name: field.what for field in fields} for event, fields in EVENTS.items()}


def _sentence() -> str:
    if listeners.is_on():
        return "Telemetry is on: figures and crash reports are kept in one file on this machine. Nothing is sent."
    if listeners.switch().is_file():
        why = "DO_NOT_TRACK is set" if do_not_track() else "the setting `telemetry` is off"
        return f"Telemetry is switched on, but nothing is recorded: {why}."
    return "Telemetry is off: nothing is recorded. `lilims telemetry on` begins."


def _draw_status(out: RichConsole, value: dict[str, Any]) -> None:
    out.print(_sentence(), markup=False)
    if value["problem"]:
        console.note(value["problem"])
    if value["bytes"]:
        out.print(f"file     {value['file']}, {bytes_text(value['bytes'])}", markup=False)
        out.print(f"holds    {value['records']} records, {value['crashes']} crash reports", markup=False)
    out.print(f"bounds   {value['days']} days, {value['megabytes']} MB", markup=False)
    _draw_kept(out)


def _draw_kept(out: RichConsole) -> None:
    from rich.table import Table

    from ..device import describe

    table = Table("event", "is kept as", "what it is", box=None, pad_edge=False, header_style="bold")
    told: set[str] = set()
    for event, names in _kept().items():
        fresh = {name: what for name, what in names.items() if name not in told}
        told |= fresh.keys()
        rows = list(fresh.items()) or [("", "the same" if names else "that it happened, and when")]
        for place, (name, what) in enumerate(rows):
            table.add_row("" if place else event, name, what)
        if fresh and len(fresh) < len(names):
            table.add_row("", "", "and the same as above")
    for place, (name, is_now) in enumerate(describe().items()):
        table.add_row("" if place else "machine", name, str(is_now))
    out.print(table)
    out.print("Crash reports: places in code, classes of errors, words of messages that stand in the code.")
