"""Pulls that the page has asked for: one process each, with progress, and a way to end it.

Knows processes. Must not know how a model is brought (lilims.models), nor requests. What an ended pull has fetched
stays, and the next one of that source goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import NotThereError, RequestError

__all__ = ["Pull", "Pulls"]

COMMAND = ("-m", "lilims.ui.web.pull_process")
_AT_ONCE = 2
_KEPT = 20
_LONGEST_LINE = 1 << 20


@dataclass
class Pull:
    """A pull, or with `dry_run` the question of what it would bring.

    Attributes:
        status: running, done, failed or cancelled.
        files: bytes that are there, and in all, of each file.
        result: what `lilims.models.Pulled` says, once it is done.
    """

    id: str
    source: str
    dry_run: bool
    status: str = "running"
    files: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the page; `total` is None as long as a file's size is unknown."""
        totals = [total for _, total in self.files.values()]
        total = None if None in totals or not totals else sum(value or 0 for value in totals)
        names = ("id", "source", "dry_run", "status", "result", "error")
        return {name: getattr(self, name) for name in names} | {
            "done": sum(done for done, _ in self.files.values()),
            "total": total,
        }


class Pulls:
    """The pulls of a server, the latest last."""

    def __init__(self) -> None:
        self._pulls: dict[str, Pull] = {}

    def all(self) -> list[dict[str, Any]]:
        """Every pull that is known, as `Pull.as_dict`."""
        return [pull.as_dict() for pull in self._pulls.values()]

    def get(self, id_: str) -> Pull:
        """A pull.

        Raises:
            NotThereError: there is none.
        """
        if id_ not in self._pulls:
            raise NotThereError("pull", id_)
        return self._pulls[id_]

    async def start(self, source: str, *, dry_run: bool = False) -> Pull:
        """Begins a pull.

        Raises:
            RequestError: two run already.
        """
        running = [pull for pull in self._pulls.values() if pull.status == "running"]
        if same := next((pull for pull in running if (pull.source, pull.dry_run) == (source, dry_run)), None):
            return same
        if len(running) >= _AT_ONCE:
            raise RequestError(f"{_AT_ONCE} models are being brought already", hint="wait for one, or cancel it")
        ended = [id_ for id_, pull in self._pulls.items() if pull.status != "running"]
        for id_ in ended[: max(len(self._pulls) - _KEPT, 0)]:
            del self._pulls[id_]
        pull = Pull(secrets.token_urlsafe(9), source, dry_run)
        self._pulls[pull.id] = pull
        pull.task = asyncio.create_task(_run(pull))
        return pull

    async def cancel(self, id_: str) -> Pull:
        """Ends a pull. Raises as `get`."""
        pull = self.get(id_)
        if pull.status == "running":
            pull.status = "cancelled"
            await _end(pull)
        return pull

    async def close(self) -> None:
        """Ends all pulls."""
        for pull in list(self._pulls.values()):
            await self.cancel(pull.id)


async def _end(pull: Pull) -> None:
    if pull.process is not None:
        with contextlib.suppress(ProcessLookupError):
            pull.process.kill()  # the store is whole at any moment
    if pull.task is not None:
        if pull.process is None:
            pull.task.cancel()
        await asyncio.gather(pull.task, return_exceptions=True)


async def _run(pull: Pull) -> None:
    """Runs the process and reads what it tells."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if Path(path).is_dir())}
    try:
        pull.process = await asyncio.create_subprocess_exec(
            sys.executable, *COMMAND,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            limit=_LONGEST_LINE, env=environment,
        )  # fmt: skip
        assert pull.process.stdin is not None and pull.process.stdout is not None
        pull.process.stdin.write((json.dumps({"source": pull.source, "dry_run": pull.dry_run}) + "\n").encode())
        pull.process.stdin.close()
        async for line in pull.process.stdout:
            _take(pull, json.loads(line))
        await pull.process.wait()
    except (OSError, ValueError) as error:
        pull.error = {"message": f"the pull could not be run: {error}", "hint": "try `lilims pull` in a terminal"}
        with contextlib.suppress(ProcessLookupError):
            if pull.process is not None:
                pull.process.kill()
    if pull.status == "running":
        pull.status = "done" if pull.result is not None else "failed"
        if pull.status == "failed" and pull.error is None:
            pull.error = {"message": "the pull ended without a word", "hint": "try `lilims pull` in a terminal"}


def _take(pull: Pull, line: dict[str, Any]) -> None:
    if "file" in line:
        pull.files[line["file"]] = (line["done"], line["total"])
    pull.result = line.get("result", pull.result)
    pull.error = line.get("error", pull.error)
