"""Claim, renew, release: hold a task, keep it, give it back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import console

from .common import agent_name, open_place, place_options, plain

if TYPE_CHECKING:
    from ..claim_record import Claim
    from ..claiming import Claimed

__all__ = ["claim_command", "release_command", "renew_command", "show_claim"]


def show_claim(won: Claimed) -> None:
    """A claim that was won, and what to do with it."""
    made = won.claim

    def draw(out: Any) -> None:
        word = "held already" if won.resumed else f"taken over from {won.took_over}" if won.took_over else "claimed"
        out.print(f"{word}: [bold]{made.task}[/] for {plain(made.agent)} until {made.as_dict()['expires_at']}")
        out.print(f"  git switch -c {made.branch}     and commit the work there", style="dim")
        out.print(f"  lilims tasks renew {made.task}      before {made.as_dict()['renew_at']}", style="dim")
        out.print(f"  lilims tasks complete {made.task}   runs the acceptance commands and merges", style="dim")

    console.result("claim", {**made.as_dict(), "resumed": won.resumed, "took_over": won.took_over}, draw)


@cli.command("claim", epilog="Exit code 0: it is yours. 1: it is not. 3: the remote cannot be asked.")
@click.argument("task")
@click.option("--agent", help="Who claims; every agent has a name of its own. Default: LILIMS_AGENT.")
@click.option("--also", multiple=True, metavar="GLOB", help="Files beyond the task's own; may be repeated.")
@click.option("--allow-overlap", is_flag=True, help="Even if a live claim may change the same files.")
@click.option("--lease-minutes", type=cli.FiniteRange(min=0, min_open=True), help="A shorter lease than the task's.")
@click.option("--claim", "nonce", metavar="CLAIM", help="Go on with a claim of yours that another clone made.")
@place_options
def claim_command(
    task: str,
    agent: str | None,
    also: tuple[str, ...],
    allow_overlap: bool,
    lease_minutes: float | None,
    nonce: str | None,
    remote: str,
    branch: str,
) -> None:
    """Claim TASK: one agent wins, all others are told so."""
    from lilims.core.errors import UsageError

    from ..claiming import claim

    name = agent_name(agent)
    place, journal = open_place(remote, branch)
    if nonce is not None:
        there = place.board().claims.get(task)
        if there is None or there.nonce != nonce or not nonce:
            raise UsageError(f"{nonce!r} is not the claim of {task}", hint="leave --claim out to claim it anew")
        journal.remember(task, nonce)
    lease = lease_minutes * 60 if lease_minutes else None
    show_claim(claim(place, journal, task, name, also=also, allow_overlap=allow_overlap, lease_s=lease))


@cli.command("renew", epilog="Exit code 1: the claim is lost; stop working on the task.")
@click.argument("task")
@click.option("--watch", is_flag=True, help="Go on, renewing at each third of the lease, until interrupted or lost.")
@place_options
def renew_command(task: str, watch: bool, remote: str, branch: str) -> None:
    """Prolong this clone's claim of TASK by its lease."""
    from ..claiming import renew
    from ..keeping import keep

    place, journal = open_place(remote, branch)
    _show_renewed(renew(place, journal, task))
    if watch:

        def wait(seconds: float) -> bool:
            time.sleep(seconds)
            return False

        keep(place, journal, task, wait, _show_renewed)


def _show_renewed(made: Claim) -> None:
    value = made.as_dict()
    console.result("claim", value, lambda out: out.print(f"renewed: {made.task} until {value['expires_at']}"))


@cli.command(
    "release", epilog="For maintainers: --force --yes deletes anybody's claim, --done those that are left over."
)
@click.argument("task", required=False)
@click.option("--force", is_flag=True, help="Whoever holds it. Wants --yes.")
@click.option("--done", is_flag=True, help="Clear the claims of all tasks that are done.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.option("--dry-run", is_flag=True, help="Only say what would be released.")
@place_options
def release_command(
    task: str | None, force: bool, done: bool, yes: bool, dry_run: bool, remote: str, branch: str
) -> None:
    """Give TASK back, so that others can claim it."""
    from lilims.core.errors import UsageError

    from ..claiming import clear_done, force_release, own, release

    if (task is None) != done:
        raise UsageError("name a task, or say --done", hint="lilims tasks release ID")
    place, journal = open_place(remote, branch)
    if dry_run:
        board = place.board()
        gone = [t for t in board.claims if (t in board.catalogue.done if done else t == task)]
        if task and gone and not force:
            own(board, journal, task)
    elif task is None:
        gone = clear_done(place)
    elif force:
        if not yes:
            raise UsageError("--force takes another's claim away", hint="add --yes, or look first with --dry-run")
        gone = [task] if force_release(place, task) else []
    else:
        gone = [task] if release(place, journal, task) else []
    word = "would release" if dry_run else "released"
    text = ", ".join(gone) or "nothing: there was no claim"
    console.result("release", {"released": gone, "dry_run": dry_run}, lambda out: out.print(f"{word}: {text}"))
