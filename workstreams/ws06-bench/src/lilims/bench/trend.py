"""Figures of a model from run to run, as a history has them.

Knows which runs compare, and a run's figure of each metric. Must not know how they are shown, nor what is worse.
"""

from __future__ import annotations

import statistics
from typing import Any

from .history import matching
from .regression import METRICS, values_of

__all__ = ["trends"]


def trends(reports: list[dict[str, Any]], *, last: int | None = None) -> list[dict[str, Any]]:
    """For each model of the last report its runs with the same work on such a machine, oldest first.

    Args:
        reports: a history, not empty.
        last: only so many of its latest runs.

    Returns:
        Of each model `name`, `scheme`, `compute_units` and `runs`; of each run its `time` (seconds since 1970, None
        where the report has none), the version of `lilims`, and its `figures` by the names of `METRICS`: medians.
    """
    latest = reports[-1]
    found = []
    for model in latest["models"]:
        runs = matching(reports, latest, model)[-(last or len(reports)) :]
        own = {name: model.get(name) for name in ("name", "scheme", "compute_units")}
        found.append({**own, "runs": [_run(report, figures) for report, figures in runs]})
    return found


def _run(report: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    values = {metric: values_of(figures, path) for metric, (path, _) in METRICS.items()}
    versions = report["machine"].get("versions")
    return {
        "time": report.get("time"),
        "lilims": versions.get("lilims") if isinstance(versions, dict) else None,
        "figures": {metric: statistics.median(known) for metric, known in values.items() if known},
    }
