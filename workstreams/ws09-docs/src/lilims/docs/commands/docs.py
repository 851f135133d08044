"""Check that links and anchors in pages of documentation lead somewhere.

Knows which module holds which subcommand. Must not import one before it is asked for.
"""

from __future__ import annotations

from lilims.core import cli

__all__ = ["command"]


@cli.group("docs", __package__, {"check": "docs_check"})
def command() -> None:
    """Check pages of documentation."""
