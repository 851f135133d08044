"""Reports for people: a Markdown page for GitHub's summary of a job, a table for a terminal, tables of documents.

Knows the report's fields (climbing.py). Must not know what a rung asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lilims.core.console import one_line

from ..markdown import code
from .rungs import OUTCOMES, Rung

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["STAND_IN", "catalogue", "draw", "markdown"]

STAND_IN = "Core ML was not run: the portable executor stood in for it"
_NUMBERS = ("max", "rms_share", "top1", "kl")  # columns, where a report has them
_LINES = 30  # of output that a page shows
_DETAIL = 400  # characters of what was seen


def markdown(title: str, value: dict[str, Any]) -> str:
    """A page of Markdown: who was asked, a table, and the output of whatever did not pass."""
    results = value["results"]
    columns = [name for name in _NUMBERS if any(name in one["figures"] for one in results)]
    head = ["", "", "s", *columns, "what was seen"]
    good = sum(one["outcome"] == "passed" for one in results)
    lines = [f"## {title}: {good} of {len(results)} passed", "", _asked(value), ""]
    lines += [_row(head), _row(["---"] * len(head))]
    for one in results:
        numbers = [_number(name, one["figures"].get(name)) for name in columns]
        seen = code(one["detail"], _DETAIL)  # an error's words come from outside
        lines.append(_row([one["name"], one["outcome"], f"{one['seconds']:.1f}", *numbers, seen]))
    for one in results:
        if one["outcome"] != "passed":
            lines += ["", f"### {one['name']}: {one['outcome']}", ""]
            lines += [f"{OUTCOMES[one['outcome']].capitalize()}. What follows: {one['otherwise']}."]
            if one["output"]:
                lines += ["", *(f"    {one_line(line)}" for line in one["output"].splitlines()[-_LINES:])]
    return "\n".join(lines) + "\n"


def draw(out: Console, value: dict[str, Any]) -> None:
    """The same as a table."""
    from rich.markup import escape
    from rich.table import Table

    columns = [name for name in _NUMBERS if any(name in one["figures"] for one in value["results"])]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "", "s", *columns, "what was seen"):
        table.add_column(name, justify="right" if name in ("s", *columns) else "left")
    for one in value["results"]:
        numbers = [_number(name, one["figures"].get(name)) for name in columns]
        outcome = one["outcome"] if one["outcome"] == "passed" else f"[bold red]{one['outcome']}[/]"
        detail = escape(one_line(one["detail"]))
        table.add_row(one["name"], outcome, f"{one['seconds']:.1f}", *numbers, detail)
    out.print(table)


def catalogue(rungs: Sequence[Rung]) -> str:
    """A Markdown table of the questions themselves, as docs/macos-ci.md has it."""
    rows = [_row(["`" + rung.name + "`", rung.shows, rung.otherwise]) for rung in rungs]
    return "\n".join([_row(["name", "what it shows", "where it does not hold"]), _row(["---"] * 3), *rows]) + "\n"


def _asked(value: dict[str, Any]) -> str:
    machine = value["machine"]
    who = f"Core ML, {value['compute_units']}" if not value["stand_in"] else f"**{STAND_IN}**"
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return f"{who}. {machine['system']}, {machine['processor']}, {machine['cores']} cores. {versions}."


def _number(name: str, number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:.2%}" if name in ("rms_share", "top1") else f"{number:.3g}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"
