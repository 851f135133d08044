"""Figures of generations and crash reports, kept on this machine only, off until switched on.

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kept import EVENTS, keep
    from .listener import Listening, listen
    from .otlp import metrics_lines, trace_lines
    from .store import Crash, Record, Store, database

__all__ = [
    "EVENTS",
    "Crash",
    "Listening",
    "Record",
    "Store",
    "database",
    "keep",
    "listen",
    "metrics_lines",
    "trace_lines",
]

_HOMES = {
    "EVENTS": "kept",
    "Crash": "store",
    "Listening": "listener",
    "Record": "store",
    "Store": "store",
    "database": "store",
    "keep": "kept",
    "listen": "listener",
    "metrics_lines": "otlp",
    "trace_lines": "otlp",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
