"""A report of `bench` as rows: for a terminal, Markdown or CSV.

Knows columns and units. Must not know how a figure was taken.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lilims.core.console import bytes_text, one_line

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["as_csv", "as_markdown", "draw", "notes"]


def _rate(part: dict[str, Any]) -> str:
    figure = part["tokens_per_second"]
    return f"{figure['median']:.1f} ± {figure['sd']:.1f}"


def _milliseconds(figure: dict[str, Any] | None) -> str:
    return "" if figure is None else f"{1000 * figure['median']:.0f} ms"


def _size(count: float | None) -> str:
    return "" if count is None else bytes_text(count)


def _energy(one: dict[str, Any]) -> str:
    spent = one["energy"].get("decode_millijoules_per_token")
    return "" if spent is None else f"{spent:.1f} mJ"


_COLUMNS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("model", lambda one: one_line(one["name"]) + (f" ({one['compute_units']})" if one["compute_units"] else "")),
    ("weights", lambda one: f"{one['scheme']}, {bytes_text(one['weight_bytes'])}"),
    ("prefill, tokens/s", lambda one: _rate(one["prefill"])),
    ("decode, tokens/s", lambda one: _rate(one["decode"])),
    ("p99 of a token", lambda one: f"{1000 * one['decode']['inter_token_seconds']['p99']:.1f} ms"),
    ("load", lambda one: _milliseconds(one["load"]["seconds"])),
    ("first token, cold", lambda one: _milliseconds(one["first_token"]["cold_seconds"])),
    ("warm", lambda one: _milliseconds(one["first_token"]["warm_seconds"])),
    ("peak RSS", lambda one: _size(one["memory"]["peak_rss"])),
    ("private", lambda one: _size(one["memory"]["working"]["private"])),
    ("energy a token", _energy),
    ("perplexity", lambda one: f"{one['perplexity']['value']:.2f}" if one["perplexity"] else ""),
)


def _table(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells; columns in which no model has anything are left out."""
    cells = [[show(one) for _, show in _COLUMNS] for one in report["models"]]
    kept = [n for n in range(len(_COLUMNS)) if any(row[n] for row in cells)]
    return [_COLUMNS[n][0] for n in kept], [[row[n] for n in kept] for row in cells]


def notes(report: dict[str, Any]) -> list[str]:
    """What a reader of the table has to know: what was done, on which machine, and why a column is not there."""
    work, here = report["workload"], report["machine"]
    behind = f" behind {work['depth']}" if work["depth"] else ""
    lines = [
        f"prompt of {work['prompt']}, {work['tokens']} tokens one by one{behind}, {work['repetitions']} times: "
        "median ± sd; tokenising and sampling left out",
        f"{here['processor']}, {here['cores']} cores, {here['system']}, lilims {here['versions']['lilims']}",
    ]
    lines += sorted({f"energy: {why}" for one in report["models"] if (why := one["energy"].get("unavailable"))})
    texts = sorted({one_line(one["perplexity"]["text"]) for one in report["models"] if one["perplexity"]})
    if texts:
        several = "; they do not compare" if len(texts) > 1 else ""
        lines.append(f"perplexity: recorded by `lilims eval` on {', '.join(texts)}{several}")
    return lines


def draw(out: RichConsole, report: dict[str, Any]) -> None:
    """The table and its notes on a terminal: a column for each model, so that it is narrow."""
    from rich.markup import escape
    from rich.table import Table

    titles, rows = _table(report)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", style="dim", no_wrap=True)
    for row in rows:
        table.add_column(escape(row[0]), justify="right", overflow="fold")
    for title, *cells in list(zip(titles, *rows, strict=True))[1:]:
        table.add_row(title, *(escape(cell) for cell in cells))
    out.print(table)
    for line in notes(report):
        out.print(line, style="dim", markup=False)


def as_markdown(report: dict[str, Any]) -> str:
    """The table in Markdown, a row for each model, and the notes."""
    titles, rows = _table(report)
    lines = [titles, ["---", "---", *["---:"] * (len(titles) - 2)], *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", *notes(report)])


def as_csv(report: dict[str, Any]) -> str:
    """A row for each model, every figure in a column whose name is its path in the JSON; values of series left out."""
    flat = [dict(_flat("", one)) for one in report["models"]]
    names = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().removesuffix("\n")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _flat(path: str, value: Any) -> Sequence[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(f"{path}.{key}".lstrip("."), item)]
    return [] if isinstance(value, list) else [(path, value)]
