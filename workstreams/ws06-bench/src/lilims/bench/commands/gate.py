"""Measure again and fail on a regression against a history: speed, first token, memory, energy.

Knows options, words and exit codes. Must not know statistics.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import console

from .options import progress

if TYPE_CHECKING:
    from ..regression import Change

__all__ = ["command"]

_EPILOG = "Example: lilims bench tiny --history speed.jsonl, and later lilims bench gate --baseline speed.jsonl"
_FILE = click.Path(dir_okay=False, path_type=Path)


@cli.command("gate", epilog=_EPILOG)
@click.option("--baseline", type=_FILE, required=True, metavar="FILE", help="A history that `lilims bench` wrote.")
@click.option(
    "--candidate", type=_FILE, metavar="FILE", help="Judge the last report of this history, instead of measuring."
)
@click.option(
    "--threshold", type=cli.FiniteRange(0, 10), default=0.1, show_default=True, help="What share worse is allowed."
)
@click.option("--history", type=_FILE, metavar="FILE", help="Append what is measured to this history if it passes.")
@click.pass_context
def command(ctx: click.Context, baseline: Path, candidate: Path | None, threshold: float, history: Path | None) -> None:
    """Do again what the last report of the baseline did, and compare.

    Exits with 1 if a figure is surely worse, by more than the threshold, than each of the five latest runs of the same
    model, work and kind of machine; repetitions are compared in pairs. What looks so is measured once more.
    """
    from ..history import append, read
    from ..regression import RUNS, confirmed

    reports = read(baseline)
    report = read(candidate)[-1] if candidate else _again(reports[-1])
    found = _judged(reports, report, threshold)
    if candidate is None and _regressed(found):
        console.note("worse than the baseline: measuring once more")
        second = _judged(reports, _again(reports[-1]), threshold)
        found = {name: confirmed(all_of, second[name]) for name, all_of in found.items()}
    if min((one.runs for all_of in found.values() for one in all_of), default=RUNS) < RUNS:
        console.note(f"the baseline has fewer than {RUNS} runs: how much runs differ is hardly known")
    regressed = _regressed(found)
    value = {
        "threshold": threshold,
        "passes": not regressed,
        "models": {name: [one.as_dict() for one in all_of] for name, all_of in found.items()},
    }
    console.result("gate", value, lambda out: _draw(out, found))
    if regressed:
        console.note(f"worse by more than {threshold:.0%} beyond noise: {'; '.join(regressed)}")
        ctx.exit(1)
    if history is not None:
        append(history, report)


def _judged(reports: list[dict[str, Any]], report: dict[str, Any], threshold: float) -> dict[str, list[Change]]:
    """The changes of every model of a report.

    Raises:
        UsageError: the baseline has no run that compares.
    """
    from lilims.core.errors import UsageError

    from ..history import comparable
    from ..regression import changes

    found: dict[str, list[Change]] = {}
    for model in report["models"]:
        runs = comparable(reports, report, model)
        if not runs:
            raise UsageError(
                f"the baseline has no run of {model['name']} ({model['scheme']}) with this work on such a machine",
                hint="`lilims bench --history FILE` with the same options makes one here",
            )
        units = f", {model['compute_units']}" if model["compute_units"] else ""
        found[f"{model['name']} ({model['scheme']}{units})"] = changes(runs, model, threshold=threshold)
    return found


def _regressed(found: dict[str, list[Change]]) -> list[str]:
    return [f"{name}: {one.metric}" for name, all_of in found.items() for one in all_of if one.regressed]


def _again(report: dict[str, Any]) -> dict[str, Any]:
    """The work of a report, done now.

    Raises:
        InputError: the report does not say what it did.
    """
    from dataclasses import replace

    from lilims.core.errors import InputError

    from ..measuring import bench
    from ..workload import Workload

    try:
        workload = Workload(**report["workload"])
        chosen = dict.fromkeys(str(one["folder"]) for one in report["models"])
        units = list(dict.fromkeys(one["compute_units"] for one in report["models"] if one["compute_units"]))
    except (TypeError, KeyError) as exc:
        raise InputError(f"the last report does not say what it did: {exc}", hint="measure the baseline anew") from exc
    return bench(list(chosen), replace(workload, compute_units=None), units=units, progress=progress)


def _draw(out: Any, found: dict[str, list[Change]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "baseline", "now", "change", "at least", ""):
        table.add_column(title, justify="right" if title else "left")
    for name, all_of in found.items():
        table.add_row(f"[bold]{escape(name)}[/]")
        for one in all_of:
            figures = (f"{one.baseline:.4g}", f"{one.candidate:.4g}", f"{one.worse:.2f} × worse", f"{one.sure:.2f} ×")
            table.add_row(one.metric, *figures, "WORSE" if one.regressed else "")
    out.print(table)
