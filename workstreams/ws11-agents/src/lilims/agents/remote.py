"""The one shared place: refs of a git remote, read as a snapshot and changed by compare-and-swap.

A push names for every ref what it must be and what it becomes, and takes effect as a whole or not at all (--atomic,
--force-with-lease=REF:ID). Whether it did is read from --porcelain's flags alone: `*` made, `+` or ` ` replaced, `-`
deleted; everything else, `=` (up to date) too, is a no. Knows refs. Must not know what they stand for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import RemoteError
from .git import Git, GitError, is_object_id, last_line

__all__ = ["Remote", "Update"]

_LINE = re.compile(r"^([ +*=!-])\t([^\t]*)\t")
_REF = re.compile(r"refs/[A-Za-z0-9._/-]+")


@dataclass(frozen=True)
class Update:
    """One ref's change. `old` None: it must not exist. `new` None: it is deleted."""

    ref: str
    old: str | None
    new: str | None

    def __post_init__(self) -> None:
        # An empty source would delete the ref, an empty lease would mean that it must not exist.
        assert _REF.fullmatch(self.ref), self.ref
        assert self.new is None or is_object_id(self.new), self.new
        assert self.old is None or is_object_id(self.old), self.old
        assert self.new != self.old

    @property
    def flags(self) -> str:
        """What --porcelain says of this change if it was made."""
        return "-" if self.new is None else "*" if self.old is None else "+ "


class Remote:
    """A remote of a repository, by its name or URL."""

    def __init__(self, git: Git, name: str = "origin") -> None:
        if not name or name.startswith("-"):
            raise RemoteError(f"{name!r} is not a remote", hint="--remote NAME, as `git remote` lists them")
        self.git = git
        self.name = name

    def refs(self, *patterns: str) -> dict[str, str]:
        """Ref → object id of the refs that match, as the remote has them now.

        Raises:
            RemoteError: it does not answer.
        """
        try:
            done = self.git.run("ls-remote", "--refs", "--quiet", self.name, *patterns)
        except GitError as exc:
            raise RemoteError(exc.message, where=self.name, hint="try again; nothing was changed") from exc
        if done.returncode:
            raise RemoteError(
                f"does not answer: {last_line(done.stderr)}",
                where=self.name,
                hint="check the network and `git remote -v`; nothing was changed",
            )
        rows = (line.split("\t", 1) for line in done.stdout.decode("utf-8", "replace").splitlines())
        return {row[1]: row[0] for row in rows if len(row) == 2 and is_object_id(row[0])}

    def fetch(self, ids: Iterable[str]) -> None:
        """Brings objects here, without touching any ref of this repository. What the remote lacks is left out.

        Raises:
            RemoteError: it does not answer.
        """
        wanted = sorted(set(ids))
        query = "".join(f"{i}\n" for i in wanted).encode()
        checked = self.git.run("cat-file", "--batch-check=%(objectname)", data=query)
        lines = checked.stdout.decode("ascii", "replace").splitlines()
        missing = [line.split(" ")[0] for line in lines if line.endswith(" missing")]
        if not missing:
            return
        if self._fetch(missing) is None:
            return
        problems = [problem for one in missing if (problem := self._fetch([one])) is not None]
        if len(problems) == len(missing):  # a claim may vanish between list and fetch; all of them hardly do
            self.refs("HEAD")  # raises where the remote is away
            if len(missing) > 1:
                raise RemoteError(f"gives no objects: {problems[0]}", where=self.name, hint="try again")

    def _fetch(self, ids: Sequence[str]) -> str | None:
        """None, or why it failed."""
        options = ("--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--quiet", "--refmap=")
        try:
            done = self.git.run("fetch", *options, self.name, *ids)
        except GitError as exc:
            raise RemoteError(exc.message, where=self.name, hint="try again; nothing was changed") from exc
        return last_line(done.stderr) if done.returncode else None

    def push(self, updates: Sequence[Update], *, hooks: bool = False) -> bool:
        """Makes all the changes, or none. Returns whether they were made.

        Args:
            hooks: run this clone's pre-push hook.

        Raises:
            RemoteError: it said nothing of the refs: no connection, no right to push, or no atomic pushes.
        """
        leases = [f"--force-with-lease={u.ref}:{u.old or ''}" for u in updates]
        changes = [f"{u.new or ''}:{u.ref}" for u in updates]
        options = ["--porcelain", "--atomic", "--no-signed", *([] if hooks else ["--no-verify"])]
        try:
            done = self.git.run("push", *options, *leases, self.name, *changes)
        except GitError as exc:
            message = f"{exc.message}: the push may have been taken"
            raise RemoteError(message, where=self.name, hint="try again") from exc
        flags = {}
        for line in done.stdout.decode("utf-8", "replace").splitlines():
            if match := _LINE.match(line):
                flags[match[2].rpartition(":")[2]] = match[1]
        if not flags:
            raise RemoteError(
                f"did not take the push: {last_line(done.stderr)}",
                where=self.name,
                hint="without the right to push, do the work in a fork, and name the task in the pull request",
            )
        return done.returncode == 0 and all(flags.get(u.ref, "!") in u.flags for u in updates)
