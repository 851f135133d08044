"""Measures models: speed, memory, energy.

    from lilims.bench import Workload, measure
    seen = measure("tiny", Workload(prompt=64, tokens=32, repetitions=3))
    print(seen["decode"]["tokens_per_second"]["median"])

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
