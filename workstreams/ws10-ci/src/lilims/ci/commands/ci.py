"""What hosted CI runs: the jobs that a change needs, probes of Core ML, reports on pull requests, releases.

Knows which module holds which subcommand. Must not import one before it is asked for.
"""

from __future__ import annotations

from lilims.core import cli

__all__ = ["command"]

_HOMES = {
    "behaviour": "lilims.ci.commands.behaviour:command",
    "plan": "plan",
    "probes": "lilims.ci.commands.probes:command",
    "release-check": "release",
    "report": "report",
}
_EPILOG = "The workflows under .github run these commands, and so can you: docs/ci.md"


@cli.group("ci", __package__, _HOMES, epilog=_EPILOG)
def command() -> None:
    """What hosted CI runs: the jobs that a change needs, probes of Core ML, reports on pull requests, releases."""
