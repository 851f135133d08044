"""Keep figures of generations and crash reports on this machine, off until you switch it on.

Knows which module holds which subcommand. Must not import one before it is asked for.
"""

from __future__ import annotations

from lilims.core import cli

__all__ = ["command"]

_HOMES = {
    "crashes": "look",
    "erase": "change",
    "export": "look",
    "off": "change",
    "on": "change",
    "show": "look",
    "status": "change",
}
_EPILOG = "Off until `lilims telemetry on`. One file on this machine; nothing is ever sent. docs/telemetry.md"


@cli.group("telemetry", __package__, _HOMES, epilog=_EPILOG)
def command() -> None:
    """Keep figures of generations and crash reports on this machine, off until you switch it on."""
