"""What a claim says: the JSON in the message of the commit that refs/claims/<id> points to (its tree is empty).

The nonce makes every claim's commit unlike any other (two byte-identical commits would both push as "up to date") and
names the claim through all its renewals: it is what the trailer `Claim:` holds. Knows the record. Must not know refs.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from . import globs
from .git import Git

__all__ = ["AGENT", "Claim", "new_nonce", "read_claims", "write_claim"]

AGENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_NONCE = re.compile(r"[0-9a-f]{32}")
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_LIMIT = 64 << 10


@dataclass(frozen=True)
class Claim:
    """A claim as it stands in a commit. Times are seconds since 1970, UTC, by the claiming agent's clock."""

    task: str
    agent: str
    nonce: str
    claimed_at: float
    expires_at: float
    lease_s: float
    renewals: int
    branch: str
    touches: tuple[str, ...]
    spec: str
    submitted: bool = False
    commit: str = ""

    @property
    def readable(self) -> bool:
        """Whether the claim's record could be read; if not, the ref alone says that somebody holds the task."""
        return bool(self.nonce)

    @property
    def renew_at(self) -> float:
        """When a third of the lease has passed: the time to renew."""
        return self.expires_at - self.lease_s * 2 / 3

    def live(self, now: float, grace: float) -> bool:
        """Whether it counts, for others than its holder: `grace` seconds are added for clocks that differ."""
        return now <= self.expires_at + grace

    def overlaps(self, touches: tuple[str, ...]) -> bool:
        """Whether some file may be touched by both."""
        return any(globs.overlap(a, b) for a in self.touches for b in touches)

    def as_dict(self) -> dict[str, object]:
        """The claim as it stands in `--json` output."""
        return {
            "task": self.task,
            "agent": self.agent,
            "claim": self.nonce,
            "commit": self.commit,
            "branch": self.branch,
            "touches": list(self.touches),
            "claimed_at": moment(self.claimed_at),
            "renew_at": moment(self.renew_at),
            "expires_at": moment(self.expires_at),
            "renewals": self.renewals,
            "submitted": self.submitted,
        }


def moment(seconds: float) -> str | None:
    """A time as text: UTC, in milliseconds. None for a time that never comes."""
    if not math.isfinite(seconds):
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_nonce() -> str:
    return secrets.token_hex(16)


def write_claim(git: Git, claim: Claim, now: float) -> Claim:
    """Writes the claim's commit and returns the claim with its id. `stamp` makes renewals in one second differ."""
    fields = {k: v for k, v in asdict(claim).items() if k != "commit"}
    record = json.dumps({"schema_version": 1, **fields, "stamp": secrets.token_hex(8)}, sort_keys=True, indent=1)
    who = {"NAME": claim.agent, "EMAIL": "tasks@lilims.invalid", "DATE": f"@{max(0, int(now))} +0000"}
    environment = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in who.items()}
    made = git.commit(git.empty_tree, f"claim {claim.task}\n\n{record}\n", environment=environment)
    return replace(claim, commit=made)


def read_claims(git: Git, commits: dict[str, str]) -> dict[str, Claim]:
    """Task → claim, for task → commit id. One that cannot be read holds its task until somebody clears it away."""
    raw = git.read_objects(commits.values(), limit=_LIMIT)
    return {task: _parse(raw.get(commit, b""), task, commit) for task, commit in commits.items()}


def _unreadable(task: str, commit: str) -> Claim:
    """What stands for a claim that cannot be read: nobody's, and it does not expire."""
    return Claim(task, "(unreadable)", "", 0.0, math.inf, 1.0, 0, "", (), "", commit=commit)


def _parse(raw: bytes, task: str, commit: str) -> Claim:
    try:
        value = json.loads(raw.partition(b"\n\n")[2].partition(b"\n\n")[2])
        if not isinstance(value, dict) or value.pop("schema_version") != 1:
            return _unreadable(task, commit)
        value.pop("stamp", None)
        touches = tuple(value.pop("touches"))
        for glob in touches:
            globs.check(glob)
        claim = Claim(**value, touches=touches, commit=commit)
        good = (
            claim.task == task
            and AGENT.fullmatch(claim.agent)
            and _NONCE.fullmatch(claim.nonce)
            and _BRANCH.fullmatch(claim.branch)
            and all(math.isfinite(t) and 0 <= t < 1e11 for t in (claim.claimed_at, claim.expires_at, claim.lease_s))
            and isinstance(claim.renewals, int)
            and isinstance(claim.submitted, bool)
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _unreadable(task, commit)
    return claim if good else _unreadable(task, commit)
