"""Figures of generations and crash reports, kept on this machine only, off until switched on.

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

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

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
