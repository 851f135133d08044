"""Remove what was used longest ago, until all models fit the quota.

Knows what is asked and said. Must not know what goes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

from .shared import ask, destructive, safe, when

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..gc import Victim

__all__ = ["command"]


@cli.command("gc", epilog="Example: lilims gc --keep 5 --dry-run")
@click.option("--keep", type=cli.FiniteRange(min=0), metavar="GB",
              help="Gigabytes that models, downloads and caches may take [default: LILIMS_QUOTA_GB].")  # fmt: skip
@destructive
def command(keep: float | None, yes: bool, dry_run: bool) -> None:
    """Removes caches, then models, least recently used first, until everything fits; without a quota only leftovers.

    Pinned models, the built-in one and models that a process uses stay. Leftovers are downloads that nobody has gone on
    with for two weeks, and what killed processes have left.
    """
    from ..gc import collect, plan
    from ..space import GB, quota, used

    target = quota() if keep is None else int(keep * GB)
    found = plan(target)
    before = used()
    size = sum(victim.bytes for victim in found)
    if found and not dry_run:
        ask(f"Remove {_counted(found)} ({bytes_text(size)})?", yes=yes)
    gone = [] if dry_run else collect(found)
    value = {
        "dry_run": dry_run,
        "target": target,
        "used": before if dry_run else used(),
        "freed": 0 if dry_run else sum(victim.bytes for victim in gone),
        "victims": [
            {"kind": one.kind, "name": one.name, "bytes": one.bytes, "last_used": one.last_used}
            for one in (found if dry_run else gone)
        ],
    }
    console.result("gc", value, lambda out: _draw(out, found if dry_run else gone, target, before, would=dry_run))
    if target is not None and not dry_run and (left := used()) > target:
        console.note(f"{bytes_text(left)} stay, more than {bytes_text(target)}: pinned, built in, or in use")


def _counted(found: list[Victim]) -> str:
    kinds = {kind: sum(victim.kind == kind for victim in found) for kind in ("cache", "model", "download")}
    names = [victim.name for victim in found if victim.kind == "model"]
    words = [f"{count} {kind}{'s' * (count != 1)}" for kind, count in kinds.items() if count and kind != "model"]
    return ", ".join(names + words)


def _draw(out: RichConsole, found: list[Victim], target: int | None, taken: int, *, would: bool) -> None:
    for victim in found:
        words = "would remove" if would else "removed"
        out.print(
            f"{words} {victim.kind} {safe(victim.name)}  [dim]{bytes_text(victim.bytes)}, {when(victim.last_used)}[/]"
        )
    if not found:
        fits = (
            "what is there is within it" if taken <= (target or 0) else "what is there is pinned, built in, or in use"
        )
        out.print("nothing to remove: " + ("there is no quota" if target is None else f"{fits} ({bytes_text(taken)})"))
