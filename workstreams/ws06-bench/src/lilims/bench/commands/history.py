"""Show how figures went from run to run: a table, plots in the terminal and as a picture.

Knows options, units and what is drawn. Must not know which runs compare.
"""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console, one_line

if TYPE_CHECKING:
    from ..plots import Panel

__all__ = ["command"]

_FILE = click.Path(dir_okay=False, path_type=Path)
_DRAWN = ("decode, tokens/s", "first token, warm", "peak RSS")
"""The metrics that have a plot; the others stand in the table alone."""
_SCALES = {"first token, warm": (1000.0, ", ms"), "peak RSS": (1e-6, ", MB")}


@cli.command("history", epilog="Example: lilims bench history speed.jsonl --plot --png speed.png")
@click.argument("file", type=_FILE, metavar="FILE")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the N latest runs of each model.")
@click.option("--plot", is_flag=True, help="Draw speed, first token and memory from run to run in the terminal.")
@click.option("--png", "picture", type=_FILE, metavar="FILE", help="Draw them as a picture.")
def command(file: Path, last: int | None, plot: bool, picture: Path | None) -> None:
    """Show the models of the last report in FILE, a history that `lilims bench` wrote, from run to run.

    Runs of other work, or on another kind of machine, are left out: they do not compare.
    """
    from ..history import read
    from ..plots import png, text
    from ..trend import trends

    found = trends(read(file), last=last)
    panels = [panel for model in found for panel in _panels(model)]
    if picture is not None:
        from lilims.core.files import write_atomic

        write_atomic(picture, png(panels))
        console.note(f"wrote {picture}")

    def draw(out: Any) -> None:
        for model in found:
            _draw(out, model)
        if plot:
            out.print(text(panels, width=shutil.get_terminal_size().columns), markup=False)

    console.result("bench-history", {"models": found}, draw)


def _label(model: dict[str, Any]) -> str:
    units = f", {model['compute_units']}" if model["compute_units"] else ""
    return one_line(f"{model['name']} ({model['scheme']}{units})")


def _panels(model: dict[str, Any]) -> list[Panel]:
    """A plot for each metric that the runs have; runs are counted from 1, oldest first."""
    from ..plots import Panel

    found = []
    for metric in _DRAWN:
        factor, unit = _SCALES.get(metric, (1.0, ""))
        known = [(n, run["figures"][metric]) for n, run in enumerate(model["runs"], 1) if metric in run["figures"]]
        if known:
            values = [factor * value for _, value in known]
            found.append(Panel(f"{_label(model)}: {metric}{unit}", "run", [n for n, _ in known], values))
    return found


def _draw(out: Any, model: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    metrics = list(dict.fromkeys(metric for run in model["runs"] for metric in run["figures"]))
    table = Table(box=None, pad_edge=False, header_style="bold", title=escape(_label(model)), title_justify="left")
    for title in ("", "when", "lilims", *metrics):
        table.add_column(title, justify="left" if title in ("when", "lilims") else "right")
    for number, run in enumerate(model["runs"], 1):
        cells = [_text(metric, run["figures"].get(metric)) for metric in metrics]
        table.add_row(str(number), _when(run["time"]), escape(one_line(str(run["lilims"] or ""))), *cells)
    out.print(table)


def _text(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    if metric == "peak RSS":
        return bytes_text(value)
    if metric.startswith("first token"):
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f}" + (" mJ" if metric.startswith("energy") else "")


def _when(time: Any) -> str:
    known = isinstance(time, (int, float)) and 0 <= time < 1 << 37
    return datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M") if known else ""
