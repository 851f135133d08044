"""Series over time: in the terminal, and as a PNG.

Knows plotille (braille characters in a terminal) and matplotlib, which is an extra. Must not know what was measured.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lilims.core.pictures import require_matplotlib

__all__ = ["Panel", "png", "text"]


@dataclass(frozen=True)
class Panel:
    """One plot: `values` over `times`, in the order of time.

    Attributes:
        title: what the values are, with their unit.
        unit: of the times: what stands below.
    """

    title: str
    unit: str
    times: Sequence[float]
    values: Sequence[float]


def text(panels: Sequence[Panel], *, width: int = 80, height: int = 10) -> str:
    """The plots, one below the other, each as wide as `width` columns."""
    import plotille

    drawn = []
    for panel in panels:
        figure = plotille.Figure()
        figure.width, figure.height = max(20, width - 24), height
        figure.with_colors, figure.origin = False, False
        figure.x_label, figure.y_label = panel.unit, panel.title
        end = max(panel.times)
        figure.set_x_limits(min_=0, max_=end if end > 0 else 1)
        figure.set_y_limits(min_=0, max_=1.1 * max(panel.values) or 1)
        figure.x_ticks_fkt = figure.y_ticks_fkt = lambda low, _high: f"{low:10.4g}"
        figure.plot(list(panel.times), list(panel.values))
        drawn.append(str(figure.show()))
    return "\n\n".join(drawn)


def png(panels: Sequence[Panel]) -> bytes:
    """The plots as a picture, one below the other.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib(
        "a picture needs matplotlib", hint="pip install 'lilims-bench[plot]', or --plot draws in the terminal"
    )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.5 * len(panels)), dpi=160, layout="constrained")
    axes: Any = figure.subplots(len(panels), 1, squeeze=False)
    for (axis,), panel in zip(axes, panels, strict=True):
        axis.plot(list(panel.times), list(panel.values), linewidth=1)
        axis.set_title(panel.title, loc="left", fontsize=10)
        axis.set_xlabel(panel.unit, fontsize=8)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    raw = io.BytesIO()
    FigureCanvasAgg(figure).print_png(raw, metadata={"Software": None})
    return raw.getvalue()
