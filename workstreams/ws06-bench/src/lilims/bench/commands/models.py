"""Measure models and show them side by side: what `lilims bench` does without a subcommand.

Knows options and forms of output. Must not know how anything is measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lilims.core import cli
from lilims.core.console import console

from .options import chosen_format, models_argument, progress, workload_of, workload_options

__all__ = ["command"]

_UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")


@cli.command("models", epilog="Example: lilims bench tiny-fp16 tiny-int8 tiny-int4 -p 256 -n 64 -o md")
@models_argument
@workload_options
@click.option(
    "--compute-units",
    "units",
    multiple=True,
    type=click.Choice(_UNITS),
    help="Of Core ML; each that is given is measured.",
)
@click.option(
    "--history",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Append the report to this JSONL file, for `lilims bench gate`.",
)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json", "csv", "md"]),
    default="table",
    show_default=True,
    callback=chosen_format,
    help="How the figures are printed.",
)
def command(
    models: tuple[str | None, ...], units: tuple[str, ...], history: Path | None, form: str, **options: Any
) -> None:
    """Measure MODELs and show them side by side."""
    from ..measuring import bench
    from ..report import as_csv, as_markdown, draw

    if units:
        _check_coreml(options["executor"])
    report = bench(models, workload_of(options), units=units, progress=progress)
    if history is not None:
        from ..history import append

        append(history, report)
    if form in ("csv", "md"):
        console.data((as_csv if form == "csv" else as_markdown)(report))
    else:
        alone = report["models"][0] if len(report["models"]) == 1 else {}
        console.result("bench", {**alone, **report}, lambda out: draw(out, report))


def _check_coreml(executor: Any) -> None:
    """Compute units are Core ML's: elsewhere every row would be the same."""
    from lilims.core.errors import UnsupportedError
    from lilims.runtime.executor import choose

    if choose(executor) != "coreml":
        raise UnsupportedError(
            "compute units are Core ML's, and the portable executor runs here", hint="leave --compute-units out"
        )
