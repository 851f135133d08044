"""Errors of this package, below those of lilims.core.

LilimsError
├── InputError
│   └── ReportError          figures for a report are damaged, or not figures
├── PlanError                a repository, or its rules, cannot be read
└── ReleaseError             versions, pins or the changelog do not agree
"""

from __future__ import annotations

from lilims.core.errors import InputError, LilimsError

__all__ = ["PlanError", "ReleaseError", "ReportError"]


class PlanError(LilimsError):
    """A repository, or its rules for jobs, cannot be read."""

    next_step = "run it in a clone of the repository; .ci/jobs.toml has the rules"


class ReleaseError(LilimsError):
    """Versions, pins or the changelog do not agree."""

    next_step = "docs/releasing.md says how a release is made"


class ReportError(InputError):
    """A file of figures is damaged, or has none."""

    next_step = "leave the file out: a report says what it lacks"
