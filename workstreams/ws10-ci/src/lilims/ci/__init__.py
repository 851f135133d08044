"""What hosted CI runs: which jobs a change needs, probes of Core ML, reports on pull requests, releases.

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

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

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
