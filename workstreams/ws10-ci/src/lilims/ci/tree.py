"""The files of a repository, as they lie in a checkout or in one commit; and what git says has changed.

Knows git. Must not know packages or jobs. Names of files are hostile: they are compared, never run or interpreted.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lilims.core.errors import MissingDependencyError

from .errors import PlanError

__all__ = ["Tree", "changed", "commit_of", "top"]

_TIMEOUT = 120  # seconds for one command
_LARGEST = 1 << 20  # bytes of a file that is read


@dataclass(frozen=True)
class Tree:
    """The files of a repository.

    Attributes:
        root: the checkout.
        commit: None is the checkout as it is, new files included.
        files: paths with slashes, relative to the root.
    """

    root: Path
    commit: str | None
    files: frozenset[str]

    @classmethod
    def of(cls, root: Path, commit: str | None = None) -> Tree:
        """The tree of a commit, or of the checkout.

        Raises:
            PlanError: git cannot list it.
        """
        if commit is None:
            listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
            files = [name for name in _names(listed) if os.path.lexists(root / name)]
        else:
            files = _names(_git(root, "ls-tree", "-r", "-z", "--name-only", "--full-tree", commit))
        return cls(root, commit, frozenset(files))

    def read(self, path: str) -> str:
        """The text of a file; empty where there is none.

        Raises:
            PlanError: it is larger than 1 MiB, no UTF-8, or cannot be read.
        """
        if path not in self.files:
            return ""
        if self.commit is None:
            try:
                with (self.root / path).open("rb") as file:
                    raw = file.read(_LARGEST + 1)
            except OSError as exc:  # a link to a folder, or to nothing
                raise PlanError(f"cannot be read: {exc.strerror}", where=path) from exc
        else:
            name = f"{self.commit}:{path}"
            if int(_git(self.root, "cat-file", "-s", name)) > _LARGEST:
                raise PlanError(f"larger than {_LARGEST} bytes", where=path)
            raw = _git(self.root, "cat-file", "blob", name)
        if len(raw) > _LARGEST:
            raise PlanError(f"larger than {_LARGEST} bytes", where=path)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise PlanError("is not UTF-8", where=path) from exc


def top(folder: Path) -> Path:
    """The root of the checkout that `folder` lies in.

    Raises:
        PlanError: it lies in none.
    """
    return Path(os.fsdecode(_git(folder, "rev-parse", "--show-toplevel").rstrip(b"\n")))


def commit_of(root: Path, name: str) -> str | None:
    """The id of the commit that a name means here; None where it means none (a shallow clone, a first push)."""
    done = _run(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return done.stdout.decode("ascii", "replace").strip() if done.returncode == 0 else None


def changed(root: Path, base: str, head: str | None) -> set[str] | None:
    """Files that differ between `head` (None: the checkout) and where it left `base`; None where they share no commit.

    What was deleted counts, and so do both names of what was renamed.
    """
    fork = _run(root, "merge-base", base, head or "HEAD")
    if fork.returncode:
        return None
    start = fork.stdout.decode("ascii").split()[0]
    names = _names(_git(root, "diff", "--name-only", "--no-renames", "-z", start, *([head] if head else []), "--"))
    if head is None:
        names += _names(_git(root, "ls-files", "-z", "--others", "--exclude-standard"))
    return set(names)


def _names(listing: bytes) -> list[str]:
    return [os.fsdecode(name) for name in listing.split(b"\0") if name]


def _run(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    settings = ("-c", "core.quotePath=false", "-c", "core.fsmonitor=false", "-c", "diff.external=")
    try:
        return subprocess.run(
            ["git", *settings, *arguments],
            cwd=root,
            capture_output=True,
            timeout=_TIMEOUT,
            env={**environment, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
        )
    except subprocess.TimeoutExpired as exc:
        raise PlanError(f"git {arguments[0]} took longer than {_TIMEOUT} s", where=root) from exc
    except FileNotFoundError as exc:
        if not root.is_dir():
            raise PlanError("no such folder", where=root) from exc
        raise MissingDependencyError("git is not installed", hint="install git 2.31 or later") from exc


def _git(root: Path, *arguments: str) -> bytes:
    done = _run(root, *arguments)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise PlanError(f"git {arguments[0]}: {lines[-1]}", where=root)
    return done.stdout
