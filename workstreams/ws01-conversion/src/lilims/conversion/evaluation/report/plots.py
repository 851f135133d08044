"""The page's plots as PNG, for light and for dark screens.

Knows matplotlib, which is an extra. Must not know where figures come from.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core import pictures

from ..metrics import Bin, Mean

__all__ = [
    "Plot", "bits_and_perplexity", "divergence_by_position", "divergences", "parts", "require_matplotlib", "tensors",
]  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Colours: of text, of lines behind the data, of the data, and of the lower end of a scale that ends in `first`."""

    text: str
    grid: str
    first: str
    second: str
    none: str


LIGHT = Look("#3b4048", "#dfe3e8", "#2864c7", "#d1603d", "#edf2fa")
DARK = Look("#c4cad3", "#363c46", "#79a8f2", "#f0936f", "#202a38")
_DPI = 160


@dataclass(frozen=True)
class Plot:
    """A picture in two looks, as data URIs, and its width in CSS pixels."""

    light: str
    dark: str
    width: int
    alt: str


def require_matplotlib() -> None:
    """Raises MissingDependencyError where matplotlib is not installed; keeps its list of fonts out of the home."""
    pictures.require_matplotlib("a report needs matplotlib", hint="pip install 'lilims-conversion[report]'")


def _plot(draw: Callable[[Any, Look], None], alt: str, size: tuple[float, float] = (7.2, 3.3)) -> Plot:
    require_matplotlib()
    light, dark = (_png(draw, look, size) for look in (LIGHT, DARK))
    return Plot(light, dark, round(size[0] * 100), alt)


def _png(draw: Callable[[Any, Look], None], look: Look, size: tuple[float, float]) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.family": "sans-serif", "font.size": 10, "axes.unicode_minus": True}):
        figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.tick_params(colors=look.text, length=0, labelsize=9)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(look.grid)
        axes.grid(color=look.grid, linewidth=0.8)
        axes.set_axisbelow(True)
        draw(axes, look)
        axes.xaxis.label.set_color(look.text)
        axes.yaxis.label.set_color(look.text)
        raw = io.BytesIO()
        FigureCanvasAgg(figure).print_png(raw, metadata={"Software": None}, pil_kwargs={"optimize": True})
    return "data:image/png;base64," + base64.b64encode(raw.getvalue()).decode("ascii")


def bits_and_perplexity(points: Mapping[str, tuple[float, float]], own: str) -> Plot:
    """Perplexity over bits per weight, a point for each model; `own` is the one that the page is about."""

    def draw(axes: Any, look: Look) -> None:
        for name, (bits, value) in points.items():
            colour = look.first if name == own else look.second
            axes.plot([bits], [value], "o", color=colour, markersize=9 if name == own else 7, clip_on=False)
            axes.annotate(name, (bits, value), xytext=(8, 6), textcoords="offset points", color=look.text, fontsize=9)
        bits_, values = zip(*points.values(), strict=True)
        room = max(max(values) - min(values), 0.02 * max(values))
        axes.set_ylim(min(values) - 0.35 * room, max(values) + 0.45 * room)
        axes.set_xlim(max(0, min(bits_) - 1.5), max(bits_) + 3.5)
        axes.set_xlabel("bits per weight")
        axes.set_ylabel("perplexity")

    return _plot(draw, "Perplexity over bits per weight: " + ", ".join(points))


def divergence_by_position(curve: Sequence[Bin]) -> Plot:
    """The mean divergence (or, without a reference, the mean loss) over positions in a window."""
    compared = curve[0].divergence is not None
    values = [one.divergence if one.divergence is not None else one.nll for one in curve]
    middle = [(one.first + one.last) / 2 for one in curve]

    def draw(axes: Any, look: Look) -> None:
        axes.plot(middle, values, color=look.first, linewidth=2, marker="o", markersize=4)
        axes.fill_between(middle, values, color=look.first, alpha=0.12)
        axes.set_ylim(0, 1.15 * max([*values, 1e-12]))
        axes.set_xlabel("position in the window, tokens")
        axes.set_ylabel("KL divergence, nats" if compared else "loss, nats")

    return _plot(draw, ("KL divergence" if compared else "Loss") + " over the position in the window")


def divergences(values: NDArray[np.float64]) -> Plot:
    """How the divergences of single tokens are spread: the share of tokens above each value."""
    ordered = np.sort(np.maximum(values, 1e-9))[::-1]
    share = np.arange(1, len(ordered) + 1) / len(ordered)

    def draw(axes: Any, look: Look) -> None:
        axes.plot(ordered, share, color=look.first, linewidth=2)
        axes.fill_between(ordered, share, color=look.first, alpha=0.12)
        axes.set_xscale("log")
        axes.set_xlim(max(ordered[-1], 1e-6), ordered[0] * 1.3)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel("KL divergence of a token, nats")
        axes.set_ylabel("tokens above it")

    return _plot(draw, "Share of tokens above each divergence")


def tensors(layers: Sequence[str], roles: Sequence[str], table: NDArray[np.float64]) -> Plot:
    """Relative errors of matrices, a cell for each: layers to the right, roles down."""
    require_matplotlib()
    from matplotlib.colors import LinearSegmentedColormap

    def draw(axes: Any, look: Look) -> None:
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        colours = LinearSegmentedColormap.from_list("errors", [look.none, look.first])
        shown = axes.imshow(table.T, aspect="auto", cmap=colours, vmin=0.7 * np.nanmin(table))
        every = max(1, len(layers) // 16)
        axes.set_xticks(range(0, len(layers), every), [layers[i] for i in range(0, len(layers), every)])
        axes.set_yticks(range(len(roles)), roles)
        axes.set_xlabel("layer")
        bar = axes.figure.colorbar(shown, ax=axes, pad=0.02, format=lambda value, _: f"{value:.0%}")
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=look.text, length=0, labelsize=9)
        if table.size <= 120:
            _write_cells(axes, table, shown)

    return _plot(draw, "Relative error of each matrix", (7.2, max(2.0, 0.9 + 0.34 * len(roles))))


def _write_cells(axes: Any, table: NDArray[np.float64], shown: Any) -> None:
    """The values in the cells, light on dark and dark on light."""
    for (layer, role), value in np.ndenumerate(table):
        if np.isfinite(value):
            red, green, blue, _ = shown.cmap(shown.norm(value))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            axes.text(layer, role, f"{100 * value:.1f}", ha="center", va="center", fontsize=8,
                      color="white" if dark else "#1c2026")  # fmt: skip


def parts(found: Mapping[str, Mean]) -> Plot:
    """What each part of a model costs, with standard errors."""
    names = [name.removeprefix("layer ") for name in found]

    def draw(axes: Any, look: Look) -> None:
        places = np.arange(len(found))
        axes.bar(places, [one.value for one in found.values()], width=0.7, color=look.first)
        axes.errorbar(
            places, [one.value for one in found.values()], [one.error for one in found.values()],
            fmt="none", ecolor=look.text, elinewidth=1, capsize=2,
        )  # fmt: skip
        step = -(-len(names) // 24)
        shown = [place for place in range(len(names)) if place % step == 0 or not names[place].isdigit()]
        axes.set_xticks(shown, [names[place] for place in shown])
        axes.grid(visible=False, axis="x")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("layer")
        axes.set_ylabel("divergence, nats")

    costly = max(found, key=lambda name: found[name].value)
    return _plot(draw, f"Divergence by layer; the most costly is {costly}")
