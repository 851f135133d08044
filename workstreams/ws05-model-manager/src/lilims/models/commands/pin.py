"""Keep an installed model when room is made, or no longer.

Knows what is said. Must not know who makes room.
"""

from __future__ import annotations

import click

from lilims.core import cli
from lilims.core.console import console

from .shared import safe

__all__ = ["command"]


@cli.command("pin", epilog="Example: lilims pin tiny@1.2.0")
@click.option("--remove", is_flag=True, help="Take the pin away.")
@cli.model_argument
def command(model: str, remove: bool) -> None:
    """Pins MODEL, an installed name: `lilims gc` and the quota leave it alone. `lilims rm` still removes it."""
    from ..store import find, pin

    found = find(model)
    pin(found, keep=not remove)
    value = {"model": found.reference, "pinned": not remove}
    console.result("pin", value, lambda out: out.print(f"{'unpinned' if remove else 'pinned'} {safe(found.reference)}"))
