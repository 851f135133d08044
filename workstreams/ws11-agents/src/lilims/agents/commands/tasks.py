"""Claim, verify and complete tasks that several agents share through a git remote.

Knows which module holds which subcommand. Must not import one before it is asked for.
"""

from __future__ import annotations

from lilims.core import cli

__all__ = ["command"]

_HOMES = {
    "check-merge": "finish",
    "claim": "hold",
    "complete": "finish",
    "graph": "look",
    "lint": "write",
    "list": "look",
    "new": "write",
    "next": "look",
    "release": "hold",
    "renew": "hold",
    "schema": "write",
    "show": "look",
    "verify": "finish",
}
_EPILOG = (
    "Exit codes: 0 yes or done · 1 no (held by another, lost, failed, nothing ready) · 2 usage · 3 the remote cannot "
    "be asked, nothing is known · 130 interrupted. With --json a failure is an object with error.type."
)


@cli.group("tasks", __package__, _HOMES, epilog=_EPILOG)
def command() -> None:
    """Task specs in specs/, claimed through refs of a git remote: list, claim, verify, complete."""
