"""What `lilims eval` has recorded of a model, as a table.

Knows the manifest's records. Must not know how figures are measured.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lilims.core.console import one_line
from lilims.core.manifest import Manifest, Quality, identity

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["draw_quality"]


def draw_quality(out: RichConsole, manifest: Manifest) -> None:
    """Draws the records that are of this model's bytes; says how many are of others."""
    now = identity(manifest)
    current = [one for one in manifest.quality if one.model == now]
    if current:
        out.print()
        _draw(out, current)
    if stale := len(manifest.quality) - len(current):
        what = "figure is" if stale == 1 else "figures are"
        out.print(f"[dim]{stale} recorded {what} of other bytes: lilims eval measures anew[/]")


def _draw(out: RichConsole, records: list[Quality]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Quality", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("text", no_wrap=True)
    for column in ("windows", "perplexity", "bits/byte", "change", "divergence", "same"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("against", no_wrap=True)
    for one in records:
        stride = f"/{one.stride}" if one.stride else ""
        against = one.reference
        table.add_row(
            escape(one_line(one.text)),
            f"{one.windows}×{one.context}{stride}",
            f"{one.perplexity:.4f}",
            "" if one.bits_per_byte is None else f"{one.bits_per_byte:.4f}",
            "" if against is None else f"{math.expm1(against.log_ratio):+.2%} ± {against.log_ratio_error:.2%}",
            "" if against is None else f"{against.divergence:.5f}",
            "" if against is None else f"{against.same_top:.1%}",
            "" if against is None else escape(one_line(against.name)),
        )
    out.print(table)
