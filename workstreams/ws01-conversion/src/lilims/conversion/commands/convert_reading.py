"""Shows what `lilims convert` reads texts for: calibration, and the search for a budget.

Knows how they are shown. Must not know how they are done.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from lilims.core.events import Event

    from ..budget import Point
    from ..pipeline import Conversion

__all__ = ["as_dict", "draw", "progress"]


def progress(event: Event) -> str | None:
    """What a progress bar says of an event; None of any other."""
    fields = event.fields
    if event.name == "calibrate.text":
        return f"the model writes a text, {fields['done']} of {fields['total']}"
    if event.name == "calibrate.unit":
        return f"calibrated {fields['unit']}, {fields['done']} of {fields['total']}"
    if event.name == "budget.alone":
        return f"measured {fields['group']} alone, {fields['done']} of {fields['total']}"
    if event.name == "budget.point":
        return f"{fields['value']} at {fields['bits']:.2f} bits per weight"
    return None


def as_dict(done: Conversion) -> dict[str, Any]:
    """What `--json` says of it."""
    if done.budget is None:
        return {}
    found = done.budget.found
    return {
        "budget": {
            "goal": str(found.goal),
            **_point(found.chosen),
            "package_change": done.budget.package_change,
            "front": [_point(point) for point in found.front],
            "recipe": found.recipe,
        }
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "bits_per_weight": point.bits,
        "change": point.figures.change,
        "divergence": point.figures.divergence,
        "tokens": point.figures.tokens,
        "schemes": {str(scheme): count for scheme, count in Counter(point.schemes).items()},
    }


def draw(out: RichConsole, done: Conversion) -> None:
    """The Pareto front, the choice marked."""
    if done.budget is None:
        return
    from rich.table import Table

    found = done.budget.found
    table = Table("", "bits per weight", "perplexity", "divergence", "groups", box=None, padding=(0, 2))
    for point in found.front:
        counts = Counter(str(scheme).removesuffix("-gptq") for scheme in point.schemes).most_common()
        schemes = ", ".join(f"{count} × {name}" for name, count in counts)
        error = point.figures.log_ratio_error
        row = (f"{point.bits:.2f}", f"{point.figures.change:+.2%} ± {error:.2%}", f"{point.figures.divergence:.4f}")
        chosen = point is found.chosen or point == found.chosen
        table.add_row("→" if chosen else "", *row, schemes, style="bold" if chosen else None)
    out.print(f"  budget {found.goal}: held on {found.chosen.figures.tokens} held-out tokens, measured on the way:")
    out.print(table)
    out.print(f"  the package itself: {done.budget.package_change:+.2%} on the same tokens; schemes in recipe.yaml")
