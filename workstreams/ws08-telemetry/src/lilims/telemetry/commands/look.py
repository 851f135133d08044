"""Show, export, crashes: what was kept, for people, for programs, and for an issue. Changes nothing."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console
from lilims.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..store import Crash, Record
    from ..summary import ModelFigures

__all__ = ["crashes_command", "export_command", "show_command"]

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _since(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float:
    """`36h`, `7d`, `2w` as a time since 1970; without it, all."""
    if value is None:
        return 0.0
    found = re.fullmatch(r"(\d{1,5})([mhdw])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a number with m, h, d or w behind it, such as 7d")
    return time.time() - int(found[1]) * _UNITS[found[2]]


_since_option = click.option("--since", metavar="TIME", callback=_since, help="Only the last TIME, such as 36h or 7d.")


@cli.command("show", epilog="Examples: lilims telemetry show --plot   ·   lilims telemetry show --since 7d --json")
@_since_option
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N records.")
@click.option("--plot", is_flag=True, help="Draw tokens/s and time to the first token over time, in the terminal.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Draw them as a picture.")
def show_command(since: float, last: int | None, plot: bool, png: Path | None) -> None:
    """Figures of the models that were used, and the errors that came."""
    from ..summary import errors, model_figures

    records = _records(since, last)
    if png is not None:
        from lilims.core.files import write_atomic

        from .. import plots

        write_atomic(png, plots.png(records, _names()))
    figures, found = model_figures(records), errors(records)
    value: dict[str, Any] = {
        "models": [asdict(one) for one in figures],
        "errors": dict(found),
        "records": [_record(one) for one in records],
    }
    console.result("telemetry-records", value, lambda out: _draw(out, records, figures, found, plot))


@cli.command("export", epilog="Example: lilims telemetry export traces.jsonl")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--signal", type=click.Choice(["traces", "metrics"]), default="traces", show_default=True,
              help="Spans, one a generation, or histograms; a file holds one kind.")  # fmt: skip
@_since_option
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def export_command(file: Path, signal: str, since: float, force: bool) -> None:
    """Write records to FILE as OpenTelemetry's file exporter does: OTLP in JSON lines."""
    from lilims.core.errors import OutputExistsError
    from lilims.core.files import write_atomic

    from .. import otlp

    if file.exists() and not force:
        raise OutputExistsError("the target exists already", where=file, hint="choose another FILE, or add --force")
    make = otlp.trace_lines if signal == "traces" else otlp.metrics_lines
    lines = list(make(_records(since, None)))
    write_atomic(file, "".join(f"{line}\n" for line in lines).encode(), private=True)
    value = {"file": str(file), "signal": signal, "lines": len(lines)}
    console.result("telemetry-export", value, lambda out: out.print(f"{file}: {len(lines)} lines", markup=False))


@cli.command("crashes", epilog="Example: lilims telemetry crashes latest")
@click.argument("which", metavar="[NUMBER|latest]", required=False)
def crashes_command(which: str | None) -> None:
    """List crash reports; with a number, or `latest`, print one, ready to paste into an issue."""
    from ..store import Store

    store = Store.open_if_present()
    found: list[Crash] = []
    if store is not None:
        with store:
            found = store.crashes()
    if which is not None:
        one = _chosen(found, which)
        console.result("telemetry-crash", asdict(one), lambda _out: console.data(one.report, end=""))
        return
    value = {"crashes": [asdict(one) for one in found]}
    console.result("telemetry-crashes", value, lambda out: _draw_crashes(out, found))


def _chosen(found: list[Crash], which: str) -> Crash:
    if which != "latest" and not which.isdecimal():
        raise UsageError(f"{which!r} is neither a number nor `latest`", hint="`lilims telemetry crashes` lists them")
    for crash in found:
        if which in ("latest", str(crash.id)):
            return crash
    raise InputError("there is no such crash report", where=which, hint="`lilims telemetry crashes` lists them")


def _draw_crashes(out: RichConsole, found: list[Crash]) -> None:
    for crash in found:
        what = next((line[2:] for line in crash.report.splitlines() if line.startswith("- ")), "")
        out.print(f"{crash.id:>4}  {_local(crash.time)}  {what}", markup=False)
    hint = "`lilims telemetry crashes latest` prints the last one." if found else "No crash was recorded."
    console.note(hint)


def _records(since: float, last: int | None) -> list[Record]:
    from ..store import Store

    store = Store.open_if_present()
    if store is None:
        return []
    with store:
        return store.records(since=since, last=last)


def _record(record: Record) -> dict[str, Any]:
    return {
        "time": record.time,
        "name": record.name,
        "attributes": record.attributes,
        "resource": record.resource,
    }


def _draw(
    out: RichConsole, records: list[Record], figures: list[ModelFigures], errors: list[tuple[str, int]], plot: bool
) -> None:
    if not records:
        out.print("Nothing was recorded.")
        console.note("`lilims telemetry status` says whether anything is.")
        return
    from rich.table import Table

    names = _names()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model")
    table.add_column("executor")
    for title in ("runs", "prompt", "written", "tokens/s", "first token", "memory", "failed"):
        table.add_column(title, justify="right")
    for one in figures:
        table.add_row(
            names.get(one.model, one.model[:12] or "unknown"),
            one.executor,
            str(one.generations),
            str(one.input_tokens),
            str(one.output_tokens),
            f"{one.speed:.1f}" if one.speed else "",
            f"{one.first_token * 1000:.0f} ms" if one.first_token else "",
            bytes_text(one.memory) if one.memory else "",
            str(one.failed),
        )
    out.print(f"{len(records)} records from {_local(records[0].time)} to {_local(records[-1].time)}", markup=False)
    out.print(table)
    for name, count in errors:
        out.print(f"{count:>5} × {name}", markup=False)
    if plot:
        from ..plots import text

        out.print()
        console.data(text(records, names, width=min(out.width, 120)))


def _names() -> dict[str, str]:
    """Names of installed models by the hash that records have: names are looked up here and never kept."""
    from lilims.core import locate
    from lilims.core.errors import LilimsError
    from lilims.core.manifest import identity, read_manifest

    found: dict[str, str] = {}
    for name, version, folder in locate.folders():
        try:
            found[identity(read_manifest(folder))] = f"{name}@{version}"
        except LilimsError:
            continue
    return found


def _local(when: float) -> str:
    return datetime.fromtimestamp(when).strftime("%Y-%m-%d %H:%M")
