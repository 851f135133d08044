"""Many sessions, and memory for a few of them: those that were used least lately wait on the disk.

Knows names, a budget and a folder. Must not know what a session holds.

    with SessionPool(model, budget_bytes=2 << 30) as pool:
        with pool.use("alice") as session:      made, or brought back, and pinned while the block runs
            model.generate(…, session=session)

What is paged is put back exactly. The folder `pool-<hex>` below `folder` is private (0700, files 0600), locked as long
as the pool lives, and removed when it is closed; what a crash leaves is removed by the next pool in the same folder.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import secrets
import shutil
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lilims.context import ContextPolicy
from lilims.core.errors import StorageError, UsageError
from lilims.core.files import storage_errors, write_atomic
from lilims.core.locks import exclusive
from lilims.core.paths import cache_dir

from .session_file import encode_session, read_session_file

if TYPE_CHECKING:
    from .model import Model
    from .session import Session

__all__ = ["PoolStatistics", "SessionPool"]

_DISK = 8 << 30  # bytes
_LONGEST = 50.0  # seconds between two looks at whether a session is free: a wait can be interrupted


@dataclass
class PoolStatistics:
    """What paging did so far: how often, and the bytes that lie on the disk now."""

    paged_out: int = 0
    paged_in: int = 0
    disk_bytes: int = 0


@dataclass(eq=False)
class _Use:
    """One `with` block."""

    thread: int


@dataclass(eq=False)
class _Entry:
    """A named session: in memory, on the disk, or new."""

    file: Path
    policy: ContextPolicy | str
    session: Session | None = None
    on_disk: int = 0  # bytes of the file; 0 where there is none
    user: _Use | None = None
    used: int = 0  # a count that grows with each use


class SessionPool:
    """Named sessions of one model under a memory budget. Safe to use from several threads.

    A session is used inside `with pool.use(name)`, and not outside: another one may have its memory then.

    Args:
        model: the sessions' model.
        budget_bytes: for the caches in memory, each counted as long as the context (`session_bytes`).
        folder: where caches that are not in memory lie; None is below the cache folder.
        disk_bytes: the most that they take there.

    Attributes:
        session_bytes: what a session counts.
        statistics: what paging did.

    Raises:
        UsageError: the budget does not hold one session.
        StorageError: the folder cannot be written.
    """

    def __init__(
        self, model: Model, budget_bytes: int, folder: str | os.PathLike[str] | None = None, *, disk_bytes: int = _DISK
    ) -> None:
        self.session_bytes = math.prod(model.manifest.state.shape) * (2 if model.executor == "coreml" else 4)
        if budget_bytes < self.session_bytes:
            raise UsageError(
                f"{budget_bytes} bytes hold no session", hint=f"one takes {self.session_bytes} bytes at full length"
            )
        self.statistics = PoolStatistics()
        self._model = model
        self._most = budget_bytes // self.session_bytes
        self._disk_bytes = disk_bytes
        self._entries: dict[str, _Entry] = {}
        self._changed = threading.Condition(threading.Lock())
        self._clock = itertools.count(1)
        self._closed = False
        parent = Path(folder) if folder is not None else cache_dir() / "sessions"
        self._folder, held = _claim(parent)
        self._remove = weakref.finalize(self, _release, self._folder, held)  # at exit, too

    @property
    def names(self) -> list[str]:
        """The sessions' names, the one that was used least lately first."""
        with self._changed:
            return sorted(self._entries, key=lambda name: self._entries[name].used)

    @property
    def in_memory(self) -> int:
        """How many sessions are in memory."""
        with self._changed:
            return self._count()

    @contextlib.contextmanager
    def use(self, name: str, policy: ContextPolicy | str = "error") -> Iterator[Session]:
        """The session of that name, for the block; a new one where there is none. Waits for another thread's block.

        Args:
            policy: of a new session: what happens when its context is full.

        Raises:
            UsageError: the pool is closed, this thread uses the session already, or every session in memory is in use.
            StorageError: another session has to make room and cannot be written, or the disk budget is used up.
            SessionFileError: the session's file was damaged meanwhile; `drop` forgets it.
        """
        mine = _Use(threading.get_ident())
        try:
            yield self._take(name, policy, mine)
        finally:
            with self._changed:
                entry = self._entries.get(name)
                if entry is not None and entry.user is mine:
                    entry.user, entry.used = None, next(self._clock)
                    self._changed.notify_all()

    def drop(self, name: str) -> None:
        """Forgets a session, in memory and on the disk.

        Raises:
            UsageError: there is none of that name, or it is in use.
        """
        with self._changed:
            entry = self._entries.get(name)
            if entry is None:
                raise UsageError(f"the pool has no session {name!r}", hint="pool.names lists them")
            if entry.user is not None:
                raise UsageError(f"the session {name!r} is in use", hint="leave its `with` block first")
            self._forget_file(entry)
            del self._entries[name]

    def close(self) -> None:
        """Forgets all sessions and removes the folder.

        Raises:
            UsageError: a session is in use.
        """
        with self._changed:
            if any(entry.user is not None for entry in self._entries.values()):
                raise UsageError("a session of the pool is in use", hint="leave its `with` block first")
            self._closed = True
            self._entries.clear()
            self.statistics.disk_bytes = 0
            self._remove()

    def __enter__(self) -> SessionPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, name: str, policy: ContextPolicy | str, mine: _Use) -> Session:
        """Pins the session and sees to it that it is in memory."""
        with self._changed:
            while True:
                if self._closed:
                    raise UsageError("the pool is closed")
                entry = self._entries.get(name)
                if entry is None or entry.user is None:
                    break
                if entry.user.thread == mine.thread:
                    raise UsageError(f"this thread uses the session {name!r} already", hint="`with` blocks do not nest")
                self._changed.wait(_LONGEST)
            fresh = entry is None
            if entry is None:
                entry = _Entry(self._folder / f"{next(self._clock)}.session", policy)
            session = entry.session or self._bring_in(entry)
            if fresh:
                self._entries[name] = entry
            entry.user, entry.used = mine, next(self._clock)
            return session

    def _bring_in(self, entry: _Entry) -> Session:
        while self._count() >= self._most:
            idle = [other for other in self._entries.values() if other.session is not None and other.user is None]
            if not idle:
                raise UsageError(
                    f"all {self._most} sessions that the memory budget holds are in use",
                    hint="leave a `with` block first, or give the pool more budget_bytes",
                )
            self._page_out(min(idle, key=lambda other: other.used))
        session = self._model.session(entry.policy)
        if entry.on_disk:
            shape = self._model.manifest.state.shape
            session.restore(read_session_file(entry.file, lambda about: shape))
            self.statistics.paged_in += 1
        entry.session = session
        self._forget_file(entry)
        return session

    def _page_out(self, entry: _Entry) -> None:
        assert entry.session is not None
        parts = encode_session({}, entry.session.snapshot())
        size = sum(len(part) for part in parts)
        if self.statistics.disk_bytes + size > self._disk_bytes:
            raise StorageError(
                f"the pool's files would take more than {self._disk_bytes} bytes",
                where=self._folder,
                hint="drop sessions, or give the pool more disk_bytes",
            )
        write_atomic(entry.file, parts, private=True)
        entry.on_disk, entry.session = size, None
        self.statistics.disk_bytes += size
        self.statistics.paged_out += 1

    def _forget_file(self, entry: _Entry) -> None:
        if entry.on_disk:
            with contextlib.suppress(OSError):  # it goes with the folder
                entry.file.unlink(missing_ok=True)
            self.statistics.disk_bytes -= entry.on_disk
            entry.on_disk = 0

    def _count(self) -> int:
        return sum(entry.session is not None for entry in self._entries.values())


class _TakenError(Exception):
    """Another process holds the lock."""


def _claim(parent: Path) -> tuple[Path, contextlib.ExitStack]:
    """A new folder below `parent`, locked as long as the stack is open; removes those whose owners are gone."""
    with storage_errors(parent), exclusive(parent / "pools.lock"):
        for old in parent.glob("pool-*"):
            if old.is_dir() and not old.is_symlink() and _abandoned(old):
                shutil.rmtree(old, ignore_errors=True)
        folder, held = parent / f"pool-{secrets.token_hex(8)}", contextlib.ExitStack()
        folder.mkdir(mode=0o700)
        held.enter_context(exclusive(folder / "lock"))
        return folder, held


def _abandoned(folder: Path) -> bool:
    def taken() -> None:
        raise _TakenError

    try:
        with exclusive(folder / "lock", waiting=taken):
            return True
    except (_TakenError, StorageError):
        return False


def _release(folder: Path, held: contextlib.ExitStack) -> None:
    held.close()  # before the removal: Windows does not remove open files
    shutil.rmtree(folder, ignore_errors=True)
