"""Git as a program: plumbing commands, no shell, no prompt, a time limit on each.

Knows how git is run and what its objects look like. Must not know claims. Output that is parsed is plumbing's or
--porcelain's; git's sentences are shown to people and never read.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lilims.core.errors import MissingDependencyError

from .errors import TaskError

__all__ = ["Entry", "Git", "GitError", "is_object_id"]

_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR",
           "GIT_NAMESPACE", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")  # fmt: skip
_QUIET = {
    "LC_ALL": "C",
    "LANGUAGE": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GCM_INTERACTIVE": "never",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ADVICE": "0",
}
_CONFIG = ("-c", "protocol.version=2", "-c", "push.followTags=false", "-c", "push.gpgSign=false",
           "-c", "push.recurseSubmodules=no", "-c", "gc.auto=0", "-c", "maintenance.auto=false",
           "-c", "core.quotePath=false")  # fmt: skip


class GitError(TaskError):
    """A git command failed, or took too long."""


def is_object_id(text: str) -> bool:
    """Whether `text` is a full object id."""
    return _OBJECT_ID.fullmatch(text) is not None


@dataclass(frozen=True)
class Entry:
    """A file of a tree."""

    mode: str
    object_id: str


class Git:
    """One repository on this machine.

    Args:
        root: a folder in its working tree, or a bare repository.
        timeout: seconds that one command may take.
    """

    def __init__(self, root: Path, timeout: float = 120) -> None:
        self.root = root
        self.timeout = timeout

    def run(
        self, *arguments: str, data: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs git and returns whatever came of it.

        Raises:
            GitError: it took too long.
            MissingDependencyError: there is no git.
        """
        inherited = {k: v for k, v in os.environ.items() if k not in _PLACES}
        try:
            return subprocess.run(
                ["git", *_CONFIG, *arguments],
                cwd=self.root,
                input=data,
                capture_output=True,
                timeout=self.timeout,
                env={**inherited, **_QUIET, **(environment or {})},
            )
        except subprocess.TimeoutExpired as exc:
            raise GitError(f"git {arguments[0]} took longer than {self.timeout:.0f} s", where=self.root) from exc
        except FileNotFoundError as exc:
            if not self.root.is_dir():
                raise GitError("no such folder", where=self.root) from exc
            raise MissingDependencyError("git is not installed", hint="install git 2.31 or later") from exc

    def out(self, *arguments: str, data: bytes = b"", environment: Mapping[str, str] | None = None) -> str:
        """What a git command prints, without the last line end.

        Raises:
            GitError: it failed; the message is git's last line.
        """
        done = self.run(*arguments, data=data, environment=environment)
        if done.returncode:
            raise GitError(f"git {arguments[0]}: {last_line(done.stderr)}", where=self.root)
        return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")

    @cached_property
    def top(self) -> Path:
        """The root of the working tree."""
        done = self.run("rev-parse", "--show-toplevel")
        if done.returncode:
            raise GitError("is not in a git working tree", where=self.root, hint="run it in a clone of the repository")
        return Path(os.fsdecode(done.stdout.rstrip(b"\n")))

    @cached_property
    def own_folder(self) -> Path:
        """A folder in .git for what this clone remembers, shared by its worktrees."""
        common = Path(self.out("rev-parse", "--git-common-dir"))
        return (self.root / common).resolve() / "lilims"

    @cached_property
    def empty_tree(self) -> str:
        """The id of a tree without files, which is written if it is not there."""
        return self.out("mktree")

    def commit_id(self, name: str) -> str | None:
        """The full id of the commit that a name means, or None."""
        done = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        text = done.stdout.decode("ascii", "replace").strip()
        return text if done.returncode == 0 and is_object_id(text) else None

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether one commit is the other, or comes before it.

        Raises:
            GitError: git knows one of them not.
        """
        done = self.run("merge-base", "--is-ancestor", older, newer)
        if done.returncode not in (0, 1):
            raise GitError(f"git merge-base: {last_line(done.stderr)}", where=self.root)
        return done.returncode == 0

    def files(self, commit: str, *folders: str) -> dict[str, Entry]:
        """Path → entry of every file of a commit (below `folders`)."""
        listing = self.out("ls-tree", "-r", "-z", "--full-tree", commit, "--", *folders)
        found = {}
        for line in filter(None, listing.split("\0")):
            meta, _, path = line.partition("\t")
            mode, _kind, object_id = meta.split(" ")[:3]
            found[path] = Entry(mode, object_id)
        return found

    def changes(self, old: str, new: str) -> dict[str, str]:
        """Path → A, M, D or T of every file that differs between two commits; a rename is a D and an A."""
        text = self.out("diff-tree", "-r", "-z", "--no-renames", "--name-status", old, new)
        parts = text.split("\0")
        return dict(zip(parts[1::2], parts[0::2], strict=False))

    def read_objects(self, ids: Iterable[str], limit: int = 1 << 20) -> dict[str, bytes]:
        """Content of those of the objects that are here and are no larger than `limit` bytes."""
        wanted = sorted(set(ids))
        assert all(map(is_object_id, wanted))
        if not wanted:
            return {}
        query = "".join(f"{i}\n" for i in wanted).encode()
        sizes = self.run("cat-file", "--batch-check=%(objectname) %(objectsize)", data=query).stdout.split(b"\n")
        rows = [line.split(b" ") for line in sizes]
        small = [r[0] for r in rows if len(r) == 2 and r[1].isdigit() and int(r[1]) <= limit]
        raw = self.run("cat-file", "--batch", data=b"".join(i + b"\n" for i in small)).stdout if small else b""
        found, at = {}, 0
        while at < len(raw):
            end = raw.index(b"\n", at)
            object_id, _kind, size = raw[at:end].split(b" ")
            found[object_id.decode()] = raw[end + 1 : end + 1 + int(size)]
            at = end + 2 + int(size)
        return found

    def commit(
        self, tree: str, message: str, parents: Iterable[str] = (), environment: Mapping[str, str] | None = None
    ) -> str:
        """Writes a commit and returns its id; no branch moves. Author and committer are the environment's."""
        flags = [flag for parent in parents for flag in ("-p", parent)]
        made = self.out("commit-tree", tree, *flags, data=message.encode(), environment=environment)
        if not is_object_id(made):
            raise GitError(f"git commit-tree printed {made!r}, not an object id", where=self.root)
        return made

    def tree_with(self, tree: str, files: Mapping[str, bytes]) -> str:
        """The id of a tree like `tree` (or a commit's) with some files more, made without the working tree's index."""
        lines = [
            f"100644 {self.out('hash-object', '-w', '--stdin', data=content)}\t{path}\0"
            for path, content in files.items()
        ]
        with tempfile.TemporaryDirectory(prefix="lilims-index-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self.out("read-tree", tree, environment=index)
            self.out("update-index", "-z", "--index-info", data="".join(lines).encode(), environment=index)
            return self.out("write-tree", environment=index)


def last_line(raw: bytes) -> str:
    """The last line of what git said, for people."""
    lines = raw.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"
