"""The targets of a model for a phone: speed, first token, memory, throttling, size.

Knows options, words and exit codes. Must not know a target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

from .options import progress

if TYPE_CHECKING:
    from ..gates import Gate

__all__ = ["command"]


@cli.command("gates", epilog="Example: lilims bench gates tiny --minutes 5   exits with 1 if a target is missed")
@click.argument("positional_model", metavar="[MODEL]", required=False)
@click.option("-m", "--model", metavar="MODEL", help="The same as MODEL [default: the built-in model].")
@click.option("--minutes", type=cli.FiniteRange(0, 24 * 60), default=0.0, help="Decode here so long for throttling.")
@click.option("--embedded", is_flag=True, help="The model is to lie inside an app: under 200 MB.")
@click.pass_context
def command(
    ctx: click.Context, positional_model: str | None, model: str | None, minutes: float, embedded: bool
) -> None:
    """Print the targets that MODEL has to meet on a phone: measured where that can be, estimated where not.

    Exits with 1 if one is missed. One of which nothing is known does not count; the last line names it.
    """
    if positional_model and model:
        raise click.UsageError(f"the model is named twice: {positional_model!r} and -m {model!r}")
    from ..gates import gates

    found = gates(positional_model or model, minutes=minutes, embedded=embedded, progress=progress)
    failed = [gate.name for gate in found if gate.required and gate.passes is False]
    unknown = [gate.name for gate in found if gate.required and gate.passes is None]
    value = {"gates": [gate.as_dict() for gate in found], "passes": not failed, "unknown": unknown}
    console.result("gates", value, lambda out: _draw(out, found))
    if unknown:
        console.note(f"not known, and not counted: {', '.join(unknown)}")
    if failed:
        console.note(f"missed: {', '.join(failed)}")
        ctx.exit(1)


def _draw(out: Any, found: list[Gate]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "target", "value", "", "", "note"):
        table.add_column(title)
    for gate in found:
        sign = ">" if gate.unit == "tokens/s" else "<"
        verdict = {True: "met", False: "MISSED" if gate.required else "over", None: "unknown"}[gate.passes]
        value = "" if gate.value is None else _text(gate.value, gate.unit)
        table.add_row(gate.name, f"{sign} {_text(gate.target, gate.unit)}", value, gate.how, verdict, gate.note)
    out.print(table)


def _text(value: float, unit: str) -> str:
    if unit == "bytes":
        return bytes_text(value)
    if unit == "share":
        return f"{value:.0%} slower"
    return f"{value:.1f} tokens/s" if unit == "tokens/s" else f"{value:.2f} s"
