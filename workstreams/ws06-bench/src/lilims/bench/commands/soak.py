"""Decode for minutes: throughput over time (heat), drift of memory; plots.

Knows options and what is printed. Must not know how anything is measured.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

from .options import progress

__all__ = ["command"]


@cli.command("soak", epilog="Example: lilims bench soak tiny --minutes 5 --plot --png soak.png")
@click.argument("positional_model", metavar="[MODEL]", required=False)
@click.option("-m", "--model", metavar="MODEL", help="The same as MODEL [default: the built-in model].")
@click.option(
    "--minutes", type=cli.FiniteRange(0, 24 * 60, min_open=True), default=5.0, show_default=True, help="How long."
)
@click.option("-n", "--tokens", type=click.IntRange(min=1), default=32, show_default=True, help="Tokens of a sample.")
@click.option(
    "-d",
    "--depth",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Tokens that are in the cache before.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the portable executor.")
@click.option("--plot", is_flag=True, help="Draw both series in the terminal.")
@click.option("--png", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Write the plots as a picture.")
def command(positional_model: str | None, model: str | None, plot: bool, picture: Path | None, **options: Any) -> None:
    """Decode with MODEL for minutes, and see whether speed falls and memory grows."""
    if positional_model and model:
        raise click.UsageError(f"the model is named twice: {positional_model!r} and -m {model!r}")
    from ..plots import Panel, png, text
    from ..soak import soak

    report = soak(positional_model or model, progress=progress, **options)
    samples = report["samples"]
    panels = [Panel("tokens/s", "seconds", samples["seconds"], samples["tokens_per_second"])]
    if None not in samples["private"]:
        megabytes = [value / 1e6 for value in samples["private"]]
        panels.append(Panel("private memory, MB", "seconds", samples["seconds"], megabytes))
    if picture is not None:
        from lilims.core.files import write_atomic

        write_atomic(picture, png(panels))
        console.note(f"wrote {picture}")

    def draw(out: Any) -> None:
        rate, growth = report["tokens_per_second"], report["private_growth_per_minute"]
        out.print(f"{report['minutes']:.1f} minutes, {len(samples['seconds'])} samples of {report['tokens']} tokens")
        out.print("{median:.1f} tokens/s, {lowest:.1f} to {highest:.1f}".format(**rate))
        out.print(f"last fifth against the first: {-100 * report['throughput_fall']:+.1f} % tokens/s")
        if growth is not None:
            out.print(f"private memory: {'-' if growth < 0 else '+'}{bytes_text(abs(growth))} a minute")
        if plot:
            out.print(text(panels, width=shutil.get_terminal_size().columns), markup=False)

    console.result("soak", report, draw)
