"""What hosted CI runs: which jobs a change needs, probes of Core ML, reports on pull requests, releases.

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import PlanError, ReleaseError, ReportError
    from .planning import Plan, make_plan
    from .tree import Tree, changed

__all__ = ["Plan", "PlanError", "ReleaseError", "ReportError", "Tree", "changed", "make_plan"]

_HOMES = {
    "Plan": "planning",
    "PlanError": "errors",
    "ReleaseError": "errors",
    "ReportError": "errors",
    "Tree": "tree",
    "changed": "tree",
    "make_plan": "planning",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
