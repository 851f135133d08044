"""Tokens/s and time to the first token over time: in the terminal, and as a PNG.

Knows plotille (braille characters in a terminal) and matplotlib, which is an extra. Must not know where records are.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from lilims.core.pictures import require_matplotlib

from .store import Record
from .summary import FIRST, SPEED

__all__ = ["PANELS", "png", "text"]

PANELS = ((SPEED, "tokens/s", 1.0), (FIRST, "time to first token, ms", 1000.0))
"""Attribute, what stands above its plot, factor."""

_MARKERS = "•x+o*#"  # one a model


def text(records: Sequence[Record], names: Mapping[str, str], *, width: int = 80, height: int = 10) -> str:
    """Both plots, one below the other, each as wide as `width` columns.

    Args:
        names: what models are called, by the hash in the records; of others the beginning of the hash stands.
    """
    import plotille

    drawn = []
    for name, title, factor in PANELS:
        found = _by_model(records, names, name, factor)
        if not found:
            continue
        figure = plotille.Figure()
        figure.width, figure.height = max(20, width - 24), height
        figure.with_colors, figure.origin = False, False
        figure.x_label, figure.y_label = "time", title
        start, end = _span([when for times, _ in found.values() for when in times])
        figure.set_x_limits(min_=start, max_=end)
        figure.set_y_limits(min_=0, max_=1.1 * max(value for _, values in found.values() for value in values))
        figure.x_ticks_fkt = lambda low, _high, span=end - start: _clock(low, span)
        figure.y_ticks_fkt = lambda low, _high: f"{low:10.4g}"
        for marker, (label, (times, values)) in zip(_MARKERS, found.items(), strict=False):
            figure.scatter(times, values, label=f"{marker} {label}", marker=marker)
        legend = "   ".join(f"{marker} {label}" for marker, label in zip(_MARKERS, found, strict=False))
        drawn.append(f"{figure.show()}\n{legend}")
    return "\n\n".join(drawn)


def png(records: Sequence[Record], names: Mapping[str, str]) -> bytes:
    """Both plots as a picture; `names` as in `text`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib(
        "a picture needs matplotlib", hint="pip install 'lilims-telemetry[plot]', or --plot draws in the terminal"
    )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=160, layout="constrained")
    axes: Any = figure.subplots(len(PANELS), 1, sharex=True)
    for axis, (name, title, factor) in zip(axes, PANELS, strict=True):
        for label, (times, values) in _by_model(records, names, name, factor).items():
            axis.plot(
                [datetime.fromtimestamp(when) for when in times], values, "o", markersize=4, alpha=0.7, label=label
            )
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        locator = AutoDateLocator()
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if axes[0].lines:
        axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    raw = io.BytesIO()
    FigureCanvasAgg(figure).print_png(raw, metadata={"Software": None})
    return raw.getvalue()


def _by_model(
    records: Sequence[Record], names: Mapping[str, str], attribute: str, factor: float
) -> dict[str, tuple[list[float], list[float]]]:
    """Label → times and values, of the models that were used most."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for record in records:
        if value := record.attributes.get(attribute):
            model = record.attributes.get("gen_ai.request.model", "")
            times, values = found.setdefault(names.get(model, model[:12] or "unknown"), ([], []))
            times.append(record.time)
            values.append(factor * float(value))
    used = sorted(found, key=lambda label: -len(found[label][0]))[: len(_MARKERS)]
    return {label: found[label] for label in used}


def _span(times: Sequence[float]) -> tuple[float, float]:
    start, end = min(times), max(times)
    return (start, end) if end > start else (start - 30, end + 30)


def _clock(when: float, span: float) -> str:
    """A time as people read it, in local time: the date where the plot spans days."""
    form = "%d %b" if span > 3 * 86400 else "%H:%M" if span > 600 else "%H:%M:%S"
    return datetime.fromtimestamp(when).strftime(form)
