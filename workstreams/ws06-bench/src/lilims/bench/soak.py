"""Minutes of decoding: whether speed falls (heat) and memory grows (leaks).

Knows what a fall and a drift are. Must not know how a token is made, nor how figures are shown.

A sample is some tokens behind the same cache, so that samples compare. The fall compares medians of the first and last
fifth. Drifts are Theil–Sen slopes: the median of the slopes between all pairs of samples, which single outliers do not
move. Memory's first fifth is left out: caches fill there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from .processes import Child

__all__ = ["fall", "slope", "soak"]

_MOST = 400  # points of a slope: pairs are its square


def soak(
    model: str | None,
    *,
    minutes: float,
    tokens: int = 32,
    depth: int = 0,
    threads: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Decodes `tokens` tokens again and again; at least five samples, however short the time.

    Raises:
        ContextOverflowError: depth and tokens do not fit the model.
        LilimsError: the model does not load, or fails.
    """
    from lilims.core.settings import settings

    from .machine import machine
    from .measuring import found
    from .workload import Workload

    folder, manifest = found(model)
    Workload(1, tokens, depth).check_room(manifest.context, str(folder))
    threads = threads or settings().threads or None
    task = {"what": "serve", "model": str(folder), "engine": "lilims", "threads": threads, "context": manifest.context}
    times: list[float] = []
    rates: list[float] = []
    memory: list[int | None] = []
    with Child(task | {"vocabulary": manifest.architecture.vocab_size}) as child:
        child.answer()
        if depth:
            child.ask("append", depth)
        child.ask("one_by_one", tokens)  # does not count
        begun = clock()
        while len(times) < 5 or clock() - begun < 60 * minutes:
            child.ask("rewind", depth)
            answer = child.ask("one_by_one", tokens)
            times.append(clock() - begun)
            rates.append(tokens / sum(answer["seconds"]))
            memory.append(answer["memory"]["private"])
            progress(f"{times[-1] / 60:.1f} of {minutes:g} minutes: {rates[-1]:.1f} tokens/s")
    held = [value for value in memory if value is not None]
    known = len(held) == len(times)
    late = len(times) // 5
    return {
        "machine": machine(),
        "model": {"name": manifest.name, "folder": str(folder), "scheme": manifest.quantization.scheme},
        "minutes": times[-1] / 60,
        "tokens": tokens,
        "depth": depth,
        "samples": {"seconds": times, "tokens_per_second": rates, "private": memory},
        "tokens_per_second": {"median": statistics.median(rates), "lowest": min(rates), "highest": max(rates)},
        "throughput_fall": fall(rates),
        "private_growth_per_minute": 60 * slope(times[late:], held[late:]) if known else None,
    }


def fall(rates: Sequence[float]) -> float:
    """By what share the median of the last fifth lies below that of the first; negative if it became faster."""
    part = max(1, len(rates) // 5)
    return 1 - statistics.median(rates[-part:]) / statistics.median(rates[:part])


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Theil–Sen: the median slope between all pairs, of evenly chosen points where there are many; 0 of one point."""
    step = -(-len(times) // _MOST)
    points = list(zip(times[::step], values[::step], strict=True))
    slopes = [
        (later[1] - first[1]) / (later[0] - first[0])
        for number, first in enumerate(points)
        for later in points[number + 1 :]
        if later[0] > first[0]
    ]
    return statistics.median(slopes) if slopes else 0.0
