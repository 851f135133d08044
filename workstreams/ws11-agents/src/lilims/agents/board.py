"""The state of every task, derived from what the remote holds now: its main branch and its claim refs.

    done      a completion record stands on the main branch
    claimed   a claim ref that has not expired
    ready     everything that it depends on is done
    blocked   the rest

Nothing shared is ever edited to change a state. Knows how states follow from refs. Must not change any.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .catalogue import PROTOCOL, Catalogue
from .claim_record import Claim, read_claims
from .errors import RemoteError
from .git import Git
from .protocol import Protocol, parse_protocol
from .remote import Remote

if TYPE_CHECKING:
    from .spec import Task

__all__ = ["Board", "State", "Workplace"]

State = Literal["ready", "claimed", "blocked", "done"]


@dataclass(frozen=True)
class Board:
    """One look at the remote.

    Attributes:
        main: id of the main branch's commit.
        claims: task → claim, expired ones too.
        locks: lock ref → id.
        now: when it was read, by this machine's clock.
    """

    main: str
    catalogue: Catalogue
    protocol: Protocol
    claims: dict[str, Claim]
    locks: dict[str, str]
    now: float

    def live(self, claim: Claim) -> bool:
        """Whether a claim still holds, by the remote's clock and the protocol's grace."""
        return claim.live(self.now, self.protocol.grace_s)

    def holder(self, task: str) -> Claim | None:
        """The live claim of a task that is not done."""
        claim = self.claims.get(task)
        return claim if claim and task not in self.catalogue.done and self.live(claim) else None

    def missing(self, task: Task) -> list[str]:
        """What the task waits for."""
        return [other for other in task.depends_on if other not in self.catalogue.done]

    def state(self, task: Task) -> State:
        """Where a task stands: done, claimed, blocked by others, or ready."""
        if task.id in self.catalogue.done:
            return "done"
        if self.holder(task.id):
            return "claimed"
        return "blocked" if self.missing(task) else "ready"

    def rivals(self, task: str, touches: tuple[str, ...]) -> list[Claim]:
        """Claims of other tasks, live and expired, on files that `touches` may change."""
        others = (c for t, c in self.claims.items() if t != task and t not in self.catalogue.done)
        return [claim for claim in others if claim.overlaps(touches)]


@dataclass
class Workplace:
    """A clone, its remote and a clock: where the protocol is followed from.

    Attributes:
        branch: the main branch's name on the remote.
        prefix: overrides the protocol's claims_prefix; empty leaves it.
        skew: seconds that this clock is ahead; a test's means.
    """

    git: Git
    remote: Remote
    branch: str = "main"
    prefix: str = ""
    skew: float = 0.0
    _protocol: Protocol | None = field(default=None, repr=False)
    _catalogue: tuple[str, Catalogue] | None = field(default=None, repr=False)
    _claims: dict[str, Claim] = field(default_factory=dict, repr=False)

    def now(self) -> float:
        """Seconds since 1970 by the remote's clock."""
        return time.time() + self.skew

    @property
    def main_ref(self) -> str:
        """The full name of the branch that work is merged into."""
        return f"refs/heads/{self.branch}"

    def board(self) -> Board:
        """Reads the remote: one listing of refs, and the objects that are not here yet.

        Raises:
            RemoteError: it does not answer, or has no such branch.
        """
        guess = self._protocol or parse_protocol(None, PROTOCOL, self.prefix)
        refs = self._refs(guess)
        main = refs[self.main_ref]
        catalogue = self._catalogue_of(main)
        protocol = parse_protocol(
            catalogue.text(PROTOCOL) if PROTOCOL in catalogue.files else None, f"{self.branch}:{PROTOCOL}", self.prefix
        )
        self._protocol = protocol
        if protocol.claims_prefix != guess.claims_prefix:
            return self.board()
        prefix = protocol.claims_prefix
        named = {ref.removeprefix(prefix): i for ref, i in refs.items() if ref.startswith(prefix)}
        commits = {name: i for name, i in named.items() if "/" not in name}
        claims = self._claims_of(commits)
        locks = {prefix + name: i for name, i in named.items() if name.startswith("_locks/")}
        return Board(main, catalogue, protocol, claims, locks, self.now())

    def _catalogue_of(self, main: str) -> Catalogue:
        if self._catalogue is None or self._catalogue[0] != main:
            self.remote.fetch([main])
            self._catalogue = (main, Catalogue.of_commit(self.git, main))
        return self._catalogue[1]

    def _claims_of(self, commits: dict[str, str]) -> dict[str, Claim]:
        """Task → claim. A commit never changes, so what was read once is not read again."""
        known = {task: claim for task, claim in self._claims.items() if commits.get(task) == claim.commit}
        new = {task: commit for task, commit in commits.items() if task not in known}
        if new:
            self.remote.fetch(new.values())
            known.update(read_claims(self.git, new))
        self._claims = {task: claim for task, claim in known.items() if claim.readable}
        return known

    def _refs(self, protocol: Protocol) -> dict[str, str]:
        refs = self.remote.refs(self.main_ref, f"{protocol.claims_prefix}*")
        if self.main_ref not in refs:
            raise RemoteError(
                f"has no branch {self.branch!r}", where=self.remote.name, hint="name the main branch with --branch"
            )
        return refs

    def main_now(self) -> str | None:
        """The main branch's commit on the remote, asked anew."""
        return self.remote.refs(self.main_ref).get(self.main_ref)
