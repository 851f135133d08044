"""Completion: one push that moves the main branch and deletes the claim, or changes nothing.

The deletion is leased on the claim's own commit, so an agent that has lost its claim cannot complete; the main branch
is leased on what was read, so a task that is done cannot be done again. Where the main branch has moved meanwhile, the
branch is merged with it if git can do that without help. With `pull_request` the branch is pushed instead, together
with a renewal of the claim that marks it as submitted; the claim goes when the record reaches the main branch.
Knows commits, trailers and the record. Must not know how evidence is got.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from . import globs
from .board import Board, Workplace
from .catalogue import record_path
from .claim_record import Claim, moment
from .claiming import ATTEMPTS, PAUSE, REFUSALS, own, renew
from .errors import AcceptanceError, ConflictError, HostRefusesError, NotReadyError, OutsideError
from .git import Git
from .journal import Journal
from .records import Completion, Evidence
from .remote import Update
from .spec import Task

__all__ = ["REVIEW_LEASE_S", "Completed", "check_scope", "complete", "outside", "pull_request_body", "submit"]

REVIEW_LEASE_S = 14 * 86400.0  # a claim whose work waits for a merge


@dataclass(frozen=True)
class Completed:
    """What was pushed: the commit with the record, its message's parts, and the claim as it was."""

    commit: str
    title: str
    body: str
    claim: Claim
    record: str


def complete(place: Workplace, journal: Journal, evidence: Evidence, *, push: bool = True) -> Completed:
    """Puts the verified commit and the record on the main branch, and deletes the claim.

    Raises:
        ClaimLostError: the claim is not one's own any more; the main branch is as it was.
        ConflictError, OutsideError, NotReadyError, AcceptanceError: the commit cannot be taken as it is.
        HostRefusesError: the remote does not let one push to the main branch.
    """
    refused, before = 0, None
    for attempt in range(ATTEMPTS):
        board = place.board()
        claim = own(board, journal, evidence.task)
        made = _prepare(place, board, claim, evidence)
        if not push:
            return made
        main = Update(place.main_ref, board.main, made.commit)
        if place.remote.push([main, Update(board.protocol.claim_ref(claim.task), claim.commit, None)], hooks=True):
            journal.forget(claim.task)
            return made
        if place.remote.refs(place.main_ref).get(place.main_ref) == made.commit:
            journal.forget(claim.task)  # the answer was lost, the push was not
            return made
        view = (board.main, claim.commit)
        refused, before = (refused + 1 if view == before else 0), view
        if refused == REFUSALS:
            raise HostRefusesError(
                f"does not let you push to {place.branch}",
                where=place.remote.name,
                hint=f"lilims tasks complete {claim.task} --pull-request",
            )
        time.sleep(random.uniform(0, PAUSE * min(attempt + 1, 10)))
    raise ConflictError("the main branch moves too fast", hint="try again")


def submit(place: Workplace, journal: Journal, evidence: Evidence, *, push: bool = True) -> Completed:
    """Pushes the commit with the record as branch task/<id>, together with a renewal of the claim.

    Raises:
        As `complete`, but that the main branch may have moved.
    """
    board = place.board()
    claim = own(board, journal, evidence.task)
    made = _prepare(place, board, claim, evidence, merge=False)
    ref = f"refs/heads/{claim.branch}"
    there = place.remote.refs(ref).get(ref)
    if push and there != made.commit:
        branch = Update(ref, there, made.commit)
        renew(place, journal, claim.task, submitted=True, lease_s=REVIEW_LEASE_S, also=(branch,))
    return made


def _prepare(place: Workplace, board: Board, claim: Claim, evidence: Evidence, *, merge: bool = True) -> Completed:
    """The completion commit on what was read; nothing is pushed."""
    git, name = place.git, claim.task
    if name in board.catalogue.done:
        raise NotReadyError(f"the task {name} is done", hint="nothing of yours was merged")
    task = board.catalogue.task(name)
    if not evidence.passed:
        raise AcceptanceError("an acceptance command has not passed", hint=f"lilims tasks verify {name}")
    check_scope(git, board, claim, evidence.commit)
    record = Completion(
        task=name,
        claim=claim.nonce,
        agent=claim.agent,
        completed_at=moment(place.now()) or "",
        spec=board.catalogue.files[board.catalogue.specs[name]],
        evidence=evidence,
    )
    parents, tree = [evidence.commit], evidence.commit
    if merge and not git.is_ancestor(board.main, evidence.commit):
        parents, tree = [board.main, evidence.commit], _merged(git, board.main, evidence.commit)
    path = record_path(task.workstream, name)
    title, body = f"Complete {name}: {task.title}", pull_request_body(task, claim, evidence)
    commit = git.commit(git.tree_with(tree, {path: record.encode()}), f"{title}\n\n{body}", parents)
    return Completed(commit, title, body, claim, path)


def check_scope(git: Git, board: Board, claim: Claim, commit: str) -> None:
    """Raises OutsideError if the commit changes files that the claim does not cover."""
    base = git.run("merge-base", board.main, commit).stdout.decode("ascii", "replace").strip()
    if not base:
        raise ConflictError("the branch has no commit in common with the main branch", hint="rebase it")
    if stray := outside(git.changes(base, commit), claim.touches):
        raise OutsideError(
            f"the branch changes {stray[0]}" + (f" and {len(stray) - 1} more files" if stray[1:] else ""),
            hint=f"it covers {', '.join(claim.touches)}; `lilims tasks claim {claim.task} --also GLOB` adds to that",
        )


def outside(changed: dict[str, str], touches: tuple[str, ...]) -> list[str]:
    """Changed files that no glob covers."""
    return sorted(path for path in changed if not any(globs.covers(glob, path) for glob in touches))


def _merged(git: Git, main: str, commit: str) -> str:
    """The tree of a merge that needs nobody's help."""
    done = git.run("merge-tree", "--write-tree", main, commit)
    if done.returncode:
        raise ConflictError(
            "the branch does not merge with the main branch by itself",
            hint="rebase it (git 2.38 or later merges what does not conflict), then verify again",
        )
    return done.stdout.decode("ascii", "replace").split("\n", 1)[0].strip()


def pull_request_body(task: Task, claim: Claim, evidence: Evidence) -> str:
    """What the commit and the pull request say: the evidence, and the trailers that check-merge compares."""
    lines = [
        "Acceptance commands in a clean worktree of",
        f"{evidence.commit} ({evidence.platform}, Python {evidence.python}):",
        "",
        *(f"- {r.outcome} in {r.seconds:.1f} s: {_short(r.run)}" for r in evidence.results),
        "",
        f"Task: {task.id}",
        f"Claim: {claim.nonce}",
    ]
    return "\n".join(lines) + "\n"


def _short(command: list[str]) -> str:
    import shlex

    text = " ".join(shlex.join(command).split())
    return text if len(text) <= 160 else f"{text[:157]}..."
