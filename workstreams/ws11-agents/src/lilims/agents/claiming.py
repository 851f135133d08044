"""Claim, renew and release: each is one push that takes effect as a whole or not at all.

A claim's push holds, as compare-and-swap on what was just read,
    the claim ref           made, or an expired claim of the same task replaced;
    the lock refs           one for each folder that `touches` reaches, moved to the new claim: of two claims on one
                            folder that were decided on the same reading, the second fails and reads again;
    expired rivals          deleted: had one been renewed meanwhile, the push fails.
So no two live claims overlap, whoever races whom and whatever the clocks say; clocks decide only when a claim counts
as abandoned. Knows the protocol. Must not know commands, nor what is done under a claim.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace

from . import globs
from .board import Board, Workplace
from .claim_record import AGENT, Claim, moment, new_nonce, write_claim
from .errors import (
    ClaimHeldError,
    ClaimLostError,
    HostRefusesError,
    NotReadyError,
    OverlapError,
    RemoteError,
    TaskError,
)
from .journal import Journal
from .remote import Update

__all__ = ["Claimed", "claim", "clear_done", "force_release", "own", "release", "renew"]

ATTEMPTS = 40
REFUSALS = 4  # pushes in a row that fail although nothing changed: the host does not take them
PAUSE = 0.05  # seconds, growing


@dataclass(frozen=True)
class Claimed:
    """A claim that was won. `resumed`: it was this clone's already. `took_over`: from whom it had expired."""

    claim: Claim
    resumed: bool = False
    took_over: str | None = None


def claim(
    place: Workplace,
    journal: Journal,
    task: str,
    agent: str,
    *,
    also: tuple[str, ...] = (),
    allow_overlap: bool = False,
    lease_s: float | None = None,
) -> Claimed:
    """Claims a task for `agent`, or finds that this clone holds it already (`also` then adds globs to it).

    Raises:
        NotReadyError, ClaimHeldError, OverlapError: somebody else has the right of way.
        HostRefusesError, RemoteError: the remote takes no such ref, or cannot be asked.
    """
    if not AGENT.fullmatch(agent):
        raise TaskError(f"{agent!r} is not an agent's name", hint="letters, digits and ._@+-, 64 at most")
    for glob in also:
        try:
            globs.check(glob)
        except ValueError as exc:
            raise TaskError(f"the glob {glob!r} {exc}") from exc
    refused, before = 0, None
    for attempt in range(ATTEMPTS):
        board = place.board()
        decided = _decide(place, journal, board, task, agent, also, allow_overlap, lease_s)
        if decided.updates is None:
            return decided.outcome
        view = (board.main, {t: c.commit for t, c in board.claims.items()}, board.locks)
        refused, before = (refused + 1 if view == before else 0), view
        if refused == REFUSALS:
            raise HostRefusesError(
                f"does not take {place.remote.name} refs below {board.protocol.claims_prefix}",
                where=place.remote.name,
                hint='ask for the right to push; if the host takes branches only, claims_prefix = "refs/heads/claims/"',
            )
        journal.remember(task, decided.outcome.claim.nonce)
        if place.remote.push(decided.updates) or _is_there(place, board, decided.outcome.claim):
            return _confirmed(place, journal, board, decided.outcome)
        if not decided.outcome.resumed:
            journal.forget(task, decided.outcome.claim.nonce)
        time.sleep(random.uniform(0, PAUSE * min(attempt + 1, 10)))
    raise TaskError("too many others claim at the same time", hint="try again")


@dataclass(frozen=True)
class _Decision:
    outcome: Claimed
    updates: list[Update] | None = None


def _decide(
    place: Workplace,
    journal: Journal,
    board: Board,
    name: str,
    agent: str,
    also: tuple[str, ...],
    allow_overlap: bool,
    lease_s: float | None,
) -> _Decision:
    """What to push, on what was read; or the claim that is held already."""
    task = board.catalogue.task(name)
    if name in board.catalogue.done:
        raise NotReadyError(f"the task {name} is done", hint="`lilims tasks next` names one that is not")
    if missing := board.missing(task):
        raise NotReadyError(f"the task {name} waits for {', '.join(missing)}", hint="`lilims tasks next` names another")
    there = board.claims.get(name)
    mine = there is not None and there.agent == agent and journal.made(name, there.nonce)
    if there and not mine and (board.live(there) or not there.readable):
        raise _held(there)
    touches = tuple(dict.fromkeys((*task.touches, *also, *(there.touches if there and mine else ()))))
    if there and mine and board.now <= there.expires_at and set(touches) == set(there.touches):
        return _Decision(Claimed(there, resumed=True))

    rivals = board.rivals(name, touches)
    live = [rival for rival in rivals if board.live(rival)]
    if live and not allow_overlap:
        raise OverlapError(
            f"{live[0].agent} works on {live[0].task}, which may change the same files, until {_until(live[0])}",
            hint="`lilims tasks next` names a task that is free; --allow-overlap claims it all the same",
        )
    lease = min(lease_s or task.lease_minutes * 60.0, task.lease_minutes * 60.0)
    made = write_claim(
        place.git,
        Claim(
            task=name,
            agent=agent,
            nonce=there.nonce if there and mine else new_nonce(),
            claimed_at=there.claimed_at if there and mine else board.now,
            expires_at=board.now + lease,
            lease_s=lease,
            renewals=there.renewals + 1 if there and mine else 0,
            branch=f"task/{name}",
            touches=touches,
            spec=board.catalogue.files[board.catalogue.specs[name]],
        ),
        board.now,
    )
    updates = [Update(board.protocol.claim_ref(name), there.commit if there else None, made.commit)]
    for ref in sorted({board.protocol.lock_ref(globs.lock_key(glob)) for glob in touches}):
        updates.append(Update(ref, board.locks.get(ref), made.commit))
    updates += [Update(board.protocol.claim_ref(r.task), r.commit, None) for r in rivals if r not in live]
    took_over = there.agent if there and not mine else None
    return _Decision(Claimed(made, resumed=mine, took_over=took_over), updates)


def _held(there: Claim) -> ClaimHeldError:
    if not there.readable:
        return ClaimHeldError(
            f"the claim of {there.task} cannot be read",
            hint=f"a later lilims may; or clear it away: lilims tasks release {there.task} --force --yes",
        )
    return ClaimHeldError(
        f"{there.agent} has claimed {there.task} until {_until(there)}", hint="`lilims tasks next` names another"
    )


def _until(there: Claim) -> str:
    return moment(there.expires_at) or "it is released"


def _is_there(place: Workplace, board: Board, made: Claim) -> bool:
    """Whether the claim stands on the remote after all: an answer may be lost when the push was not."""
    ref = board.protocol.claim_ref(made.task)
    return place.remote.refs(ref).get(ref) == made.commit


def _confirmed(place: Workplace, journal: Journal, board: Board, won: Claimed) -> Claimed:
    """The claim, unless its task was completed between the reading and the push."""
    if place.main_now() != board.main:
        later = place.board()
        if won.claim.task in later.catalogue.done:
            release(place, journal, won.claim.task)
            raise NotReadyError(f"the task {won.claim.task} is done", hint="`lilims tasks next` names one that is not")
    return won


def own(board: Board, journal: Journal, task: str) -> Claim:
    """The claim of a task as it stands on the remote, if it is this clone's.

    Raises:
        ClaimLostError: it is another's, gone, or was never claimed from here.
    """
    there = board.claims.get(task)
    if not journal.knows(task):
        raise ClaimLostError(f"the task {task} was not claimed from this clone", hint="`lilims tasks claim` claims it")
    if there is None:
        done = " and the task is done" if task in board.catalogue.done else ""
        raise ClaimLostError(f"the claim of {task} is gone{done}", hint="claim it again, or leave it")
    if not journal.made(task, there.nonce):
        raise ClaimLostError(
            f"the claim of {task} has expired, and {there.agent} has it now",
            hint="stop working on it; nothing of yours was merged",
        )
    return there


def renew(
    place: Workplace,
    journal: Journal,
    task: str,
    *,
    submitted: bool | None = None,
    lease_s: float | None = None,
    also: tuple[Update, ...] = (),
) -> Claim:
    """Prolongs this clone's claim by its lease. One that has expired is claimed anew, if nothing stands against it.

    Args:
        submitted: what the claim then says of itself; None leaves it.
        lease_s: a new lease, for a claim that waits for review.
        also: changes of other refs that have to happen with it.

    Raises:
        ClaimLostError: it is no longer one's own.
        OverlapError: it had expired, and another task on the same files was claimed.
    """
    for attempt in range(ATTEMPTS):
        board = place.board()
        there = own(board, journal, task)
        if board.now > there.expires_at:
            there = claim(place, journal, task, there.agent, lease_s=there.lease_s).claim
            if not also and submitted is None:
                return there
            board = replace(board, now=place.now())
        lease = lease_s or there.lease_s
        later = replace(
            there,
            expires_at=board.now + lease,
            lease_s=lease,
            renewals=there.renewals + 1,
            submitted=there.submitted if submitted is None else submitted,
        )
        made = write_claim(place.git, later, board.now)
        if place.remote.push([Update(board.protocol.claim_ref(task), there.commit, made.commit), *also]):
            return made
        if _is_there(place, board, made):
            return made
        if also and attempt >= REFUSALS:
            raise HostRefusesError("does not take the branch", where=place.remote.name, hint=f"see {also[0].ref} there")
        time.sleep(random.uniform(0, PAUSE * (attempt + 1)))
    raise RemoteError("does not take the renewal", where=place.remote.name, hint="try again")


def release(place: Workplace, journal: Journal, task: str) -> bool:
    """Gives this clone's claim back. Returns whether there was one.

    Raises:
        ClaimLostError: another agent has the task now, or it was not claimed from here.
    """
    for _attempt in range(ATTEMPTS):
        board = place.board()
        if task not in board.claims and journal.knows(task):
            journal.forget(task)
            return False
        there = own(board, journal, task)
        if place.remote.push([Update(board.protocol.claim_ref(task), there.commit, None)]):
            journal.forget(task)
            return True
        time.sleep(random.uniform(0, PAUSE))
    raise RemoteError("does not take the deletion", where=place.remote.name, hint="try again")


def force_release(place: Workplace, task: str) -> Claim | None:
    """Deletes whoever's claim, as it was read. None: there was none. A maintainer's means."""
    for _attempt in range(REFUSALS):
        board = place.board()
        there = board.claims.get(task)
        if there is None:
            return None
        if place.remote.push([Update(board.protocol.claim_ref(task), there.commit, None)]):
            return there
        time.sleep(random.uniform(0, PAUSE))
    raise HostRefusesError("does not take the deletion", where=place.remote.name, hint="ask for the right to push")


def clear_done(place: Workplace) -> list[str]:
    """Deletes the claims that are left of tasks that are done, such as by a merged pull request. Returns the tasks."""
    board = place.board()
    left = {t: c for t, c in board.claims.items() if t in board.catalogue.done}
    return [t for t, c in left.items() if place.remote.push([Update(board.protocol.claim_ref(t), c.commit, None)])]
