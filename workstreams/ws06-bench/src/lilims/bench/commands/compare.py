"""Measure a model beside llama.cpp, transformers or mlx-lm on the same weights, in turns.

Knows options and tables. Must not know how anything is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

from .options import progress

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["command"]

_SIZE = click.IntRange(min=1)


@cli.command("compare", epilog="Example: lilims bench compare tiny --peer llama.cpp=tiny-Q4_0.gguf -d 0 -d 4096")
@cli.model_argument
@click.option(
    "--peer",
    "peers",
    multiple=True,
    required=True,
    metavar="ENGINE=PATH",
    help="llama.cpp, transformers, mlx-lm, onnxruntime-genai, or lilims for another model; may be repeated.",
)
@click.option("-p", "--prompt", type=_SIZE, default=512, show_default=True, help="Tokens of the prompt.")
@click.option("-n", "--tokens", type=_SIZE, default=32, show_default=True, help="Tokens that are decoded.")
@click.option(
    "-d",
    "--depth",
    "depths",
    type=click.IntRange(min=0),
    multiple=True,
    default=(0,),
    show_default=True,
    help="Tokens that are in the cache before those; may be repeated.",
)
@click.option("-r", "--rounds", type=_SIZE, default=5, show_default=True, help="How often each engine is measured.")
@click.option("--threads", type=_SIZE, help="Threads of every engine [default: physical cores].")
def command(model: str, peers: tuple[str, ...], **options: Any) -> None:
    """Measure MODEL and its peers in turns: one works at a time, and each round measures all of them.

    Ratios are speeds of lilims against the peer's within a round: the median, the lowest and the highest. Bounds are
    what the machine's memory allows, as it is read here.
    """
    from ..comparing import compare, parse_peer

    report = compare(model, [parse_peer(peer) for peer in peers], progress=progress, **options)
    console.result("comparison", report, lambda out: _draw(out, report))


def _draw(out: RichConsole, report: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "engine", "speed", "lilims against it", "bound by memory"):
        table.add_column(title, justify="left" if title in ("", "engine") else "right")
    bounds = {(one["task"], one["engine"]): one["tokens_per_second"] for one in report["bounds"]}
    for task in report["tasks"]:
        for number, (label, figure) in enumerate(task["engines"].items()):
            seconds = task["unit"] == "seconds"
            speed = f"{figure['median']:.2f} s" if seconds else f"{figure['median']:.1f} tokens/s"
            against = task["lilims_against"].get(label)
            ratio = "" if against is None else "{median:.2f} × ({lowest:.2f} to {highest:.2f})".format(**against)
            bound = bounds.get((task["task"], label))
            table.add_row("" if number else task["task"], escape(label), speed, ratio, f"{bound:.0f}" if bound else "")
    out.print(table)
    for label, engine in report["engines"].items():
        other = "  not the file that the model was converted from" if engine["same_weights"] is False else ""
        size = bytes_text(engine["weight_bytes"])
        out.print(f"{label}: {engine['path']}, {size} of weights{other}", style="dim", markup=False)
    memory = report["machine"]["read_bandwidth"] / 1e9
    out.print(f"{report['threads']} threads, memory is read at {memory:.1f} GB/s", style="dim", markup=False)
