"""Measures models: speed, memory, energy.

    from lilims.bench import Workload, measure
    seen = measure("tiny", Workload(prompt=64, tokens=32, repetitions=3))
    print(seen["decode"]["tokens_per_second"]["median"])

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

if TYPE_CHECKING:
    from .figures import Summary, summarise
    from .measuring import bench, measure
    from .workload import Workload

__all__ = ["Summary", "Workload", "bench", "measure", "summarise"]

_HOMES = {
    "Summary": "figures",
    "Workload": "workload",
    "bench": "measuring",
    "measure": "measuring",
    "summarise": "figures",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
