"""Verify, complete, check-merge: from a branch to the main branch."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import console

from .common import open_place, place_options, plain

if TYPE_CHECKING:
    from ..board import Workplace
    from ..completing import Completed
    from ..journal import Journal
    from ..records import Evidence, Result
    from ..spec import Acceptance

__all__ = ["check_merge_command", "complete_command", "verify_command"]

_MARKS = {"passed": "[green]✓[/]", "skipped": "[yellow]•[/]"}
_commit = click.option("--commit", help="What to verify. Default: the branch task/ID, or HEAD where there is none.")


def _chosen(place: Workplace, task: str, given: str | None) -> str:
    from ..errors import UnknownTaskError

    for name in (given,) if given else (f"refs/heads/task/{task}", "HEAD"):
        if found := place.git.commit_id(name):
            return found
    raise UnknownTaskError(f"there is no commit {given or 'HEAD'!r}", hint="commit the work first")


def _verified(place: Workplace, journal: Journal, name: str, commit: str) -> Evidence:
    """Runs the acceptance commands, while the claim is kept alive if it is held from here."""
    from ..keeping import keeping
    from ..verifying import verify

    board = place.board()
    task = board.catalogue.task(name)
    claim = board.claims.get(name)
    mine = claim is not None and journal.made(name, claim.nonce)

    def show(command: Acceptance, result: Result, output: str) -> None:
        import shlex

        text = shlex.join(command.run).split("\n")[0][:100]
        console.note(f"{result.outcome} in {result.seconds:.1f} s: {text}")
        if result.outcome not in _MARKS:
            console.note("\n".join(f"    {line}" for line in output.strip().splitlines()[-20:]))

    console.note(f"{name} on {commit[:12]}, in a clean worktree:")
    with keeping(place, journal, name) if mine else nullcontext():
        evidence = verify(place.git, task, commit, show)
    journal.keep(evidence)
    return evidence


@cli.command("verify", epilog="Exit code 1: a command failed, or none runs on this platform.")
@click.argument("task")
@_commit
@place_options
def verify_command(task: str, commit: str | None, remote: str, branch: str) -> None:
    """Run TASK's acceptance commands in a clean worktree of its branch and keep the evidence."""
    place, journal = open_place(remote, branch)
    evidence = _verified(place, journal, task, _chosen(place, task, commit))

    def draw(out: Any) -> None:
        out.print(f"{'verified' if evidence.passed else 'not verified'}: {task} on {evidence.commit}")

    console.result("evidence", {"passed": evidence.passed, **evidence.model_dump(mode="json")}, draw)
    if not evidence.passed:
        click.get_current_context().exit(1)


@cli.command("complete", epilog="Exit code 1: nothing was merged, and error.type says why.")
@click.argument("task")
@_commit
@click.option("--pull-request", is_flag=True, help="Push the branch and open a pull request (with gh, if installed).")
@click.option("--dry-run", is_flag=True, help="Verify and show the commit's message; push nothing.")
@place_options
def complete_command(
    task: str, commit: str | None, pull_request: bool, dry_run: bool, remote: str, branch: str
) -> None:
    """Verify TASK's branch, then merge it and give the claim up, in one step that happens whole or not at all."""
    from ..claiming import own
    from ..completing import check_scope, complete, submit
    from ..errors import AcceptanceError

    place, journal = open_place(remote, branch)
    board = place.board()
    claim = own(board, journal, task)
    chosen = _chosen(place, task, commit)
    check_scope(place.git, board, claim, chosen)
    evidence = journal.evidence(task, chosen)
    if evidence is None or not evidence.passed:
        evidence = _verified(place, journal, task, chosen)
    if not evidence.passed:
        failed = sum(r.outcome not in _MARKS for r in evidence.results)
        message = f"{failed} acceptance commands failed" if failed else "no acceptance command runs on this platform"
        raise AcceptanceError(message, hint=f"`lilims tasks verify {task} --json` shows their output")
    made = (submit if pull_request else complete)(place, journal, evidence, push=not dry_run)
    opened = None
    if pull_request and not dry_run:
        opened = _open_pull_request(place, made)
    if not pull_request and not dry_run:
        _follow(place, chosen, made.commit)
    value = {
        "task": task,
        "commit": made.commit,
        "verified": chosen,
        "record": made.record,
        "merged": not (pull_request or dry_run),
        "dry_run": dry_run,
        "title": made.title,
        "body": made.body,
        "pull_request": opened,
    }
    word = "would complete" if dry_run else "submitted" if pull_request else "completed"
    text = f"{word}: {task} as {made.commit[:12]}"
    console.result("completion", value, lambda out: out.print(f"{text}\n\n{plain(made.title)}\n\n{plain(made.body)}"))


def _follow(place: Workplace, verified: str, made: str) -> None:
    """Moves the checked-out branch to what was merged, if it stands where it was verified."""
    if place.git.commit_id("HEAD") == verified:
        place.git.run("merge", "--ff-only", "--quiet", made)


def _open_pull_request(place: Workplace, made: Completed) -> dict[str, Any]:
    command = ["gh", "pr", "create", "--base", place.branch, "--head", made.claim.branch, "--title", made.title]
    program = shutil.which("gh")
    if program is None:
        console.note("gh is not installed: open the pull request by hand, with this title and body")
        return {"opened": False, "branch": made.claim.branch, "message": "gh is not installed"}
    try:
        done = subprocess.run(
            [program, *command[1:], "--body", made.body],
            cwd=place.git.root,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        return {"opened": False, "branch": made.claim.branch, "message": "gh took longer than 120 s"}
    message = (done.stdout if done.returncode == 0 else done.stderr).strip()
    if done.returncode:
        console.note(f"gh did not open a pull request: {message}")
    return {"opened": done.returncode == 0, "branch": made.claim.branch, "message": message}


@cli.command("check-merge", epilog="For CI, on a clone with the whole history. Exit code 1: the merge is refused.")
@click.option("--base", help="The commit that is merged into. Default: the remote's main branch.")
@click.option("--head", default="HEAD", show_default=True, help="What is to be merged.")
@place_options
def check_merge_command(base: str | None, head: str, remote: str, branch: str) -> None:
    """Refuse a merge that completes a task without the claim that is live for it."""
    from lilims.core.errors import UsageError

    from ..merging import check_merge

    place, _journal = open_place(remote, branch)
    board = place.board()
    ends = []
    for name in (base or board.main, head):
        if (found := place.git.commit_id(name)) is None:
            raise UsageError(f"there is no commit {name!r}", hint="fetch it first (in CI: fetch-depth: 0)")
        ends.append(found)
    tasks, refusals = check_merge(place.git, board, ends[0], ends[1])

    def draw(out: Any) -> None:
        for refusal in refusals:
            out.print(plain(str(refusal)))
        if not refusals:
            out.print(f"may be merged; completes {', '.join(tasks) or 'no task'}")

    reasons = [{"rule": r.rule, "message": r.message} for r in refusals]
    console.result("merge-check", {"tasks": tasks, "refusals": reasons, "base": ends[0], "head": ends[1]}, draw)
    if refusals:
        click.get_current_context().exit(1)
