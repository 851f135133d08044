"""Claim, verify and complete tasks that several agents share through a git remote.

Knows which module holds which subcommand. Must not import one before it is asked for.
"""

from __future__ import annotations

from importlib import import_module

import click

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


class _Subcommands(click.Group):
    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(_HOMES)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _HOMES:
            return None
        module = import_module(f".{_HOMES[name]}", __package__)
        found = getattr(module, name.replace("-", "_") + "_command")
        assert isinstance(found, click.Command)
        return found


@click.group("tasks", cls=_Subcommands, epilog=_EPILOG)
def command() -> None:
    """Task specs in specs/, claimed through refs of a git remote: list, claim, verify, complete."""
