"""What this clone remembers: the claims that were made from it, and evidence, in .git/lilims.

A note is written before a claim is pushed, so that a process that is killed in between finds its claim again. Knows
files. Must not know the remote: whether a remembered claim still holds is asked there.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from lilims.core.errors import InputError
from lilims.core.files import read_json, write_atomic

from .errors import TaskSpecError
from .records import Evidence

__all__ = ["Journal"]


class Journal:
    """Notes of one clone about one remote."""

    def __init__(self, folder: Path, remote: str) -> None:
        plain = re.fullmatch(r"[A-Za-z0-9_-]{1,40}", remote)
        safe = remote if plain else hashlib.sha256(remote.encode()).hexdigest()[:16]
        self._claims = folder / "claims" / safe
        self._evidence = folder / "evidence"

    def remember(self, task: str, nonce: str) -> None:
        """Notes that this clone has made, or is about to make, the claim."""
        folder = self._claims / task
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / nonce, b"")

    def made(self, task: str, nonce: str) -> bool:
        """Whether the claim was made from here."""
        return bool(re.fullmatch(r"[0-9a-f]{32}", nonce)) and (self._claims / task / nonce).is_file()

    def knows(self, task: str) -> bool:
        """Whether any claim of the task was made from here."""
        return any((self._claims / task).glob("*"))

    def forget(self, task: str, nonce: str | None = None) -> None:
        """Drops a claim that is over, or all of a task's."""
        for path in (self._claims / task).glob(nonce or "*"):
            path.unlink(missing_ok=True)

    def tasks(self) -> list[str]:
        """Tasks that a claim was made of from here."""
        return sorted(path.name for path in self._claims.glob("*") if any(path.glob("*")))

    def keep(self, evidence: Evidence) -> Path:
        """Keeps evidence; the last one for a task and commit counts."""
        path = self._evidence / evidence.task / f"{evidence.commit}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (evidence.model_dump_json(indent=2) + "\n").encode())
        return path

    def evidence(self, task: str, commit: str) -> Evidence | None:
        """Evidence for a task on exactly that commit."""
        path = self._evidence / task / f"{commit}.json"
        try:
            return Evidence.model_validate(read_json(path, error=TaskSpecError))
        except (InputError, ValueError):
            return None
