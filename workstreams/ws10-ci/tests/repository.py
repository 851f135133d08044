"""A git repository made for a test."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["Repo"]


class Repo:
    """A repository in `root`; `write` changes files, `commit` commits all of them."""

    def __init__(self, root: Path, files: dict[str, str] | None = None) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        self.write(files or {})
        self.commit()

    def git(self, *words: str) -> str:
        """What a git command prints."""
        names = ["-c", "user.name=x", "-c", "user.email=x@x.invalid", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *names, *words], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, files: dict[str, str]) -> None:
        """Writes files, relative to the root."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def commit(self) -> str:
        """Commits everything; the commit's id."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")
        return self.git("rev-parse", "HEAD")
