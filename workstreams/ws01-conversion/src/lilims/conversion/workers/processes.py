"""Work in processes of this machine, which end with the one that they work for.

Knows processes. Must not know what is computed.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, TypeVar

from lilims.core.errors import ExecutionError

from .base import Opened, Opens, Workers, in_order

__all__ = ["Processes"]

State = TypeVar("State")
Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # items for a process, under way or done out of turn
_MOST = 61 if sys.platform == "win32" else 4096  # what Windows can wait for at once


class Processes(Workers):
    """At most `jobs` processes, each started when there is an item for it and kept until the end."""

    def __init__(self, jobs: int) -> None:
        self._jobs = min(jobs, _MOST)
        self._pool: ProcessPoolExecutor | None = None

    @property
    def size(self) -> int:
        return self._jobs

    def map(
        self, function: Callable[[State, Item], Result], work: Opens[State], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        described, pool = pickle.dumps(work), self._started()

        def submit(item: Item) -> Future[Result]:
            return pool.submit(_step, described, function, item)

        try:
            yield from in_order(submit, lambda future: future.result(), items, _AHEAD * self._jobs)
        except BrokenProcessPool as exc:
            self.close()  # the next call starts others
            raise ExecutionError(
                "a process that does the work died, perhaps for want of memory",
                hint="take fewer with --jobs, or --jobs 1",
            ) from exc

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._jobs, _Context(), initializer=_start)
        return self._pool


class _Process(SpawnProcess):
    """A process that does not run the main program's file again: a script needs no `if __name__ == "__main__":`."""

    def start(self) -> None:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # multiprocessing passes on where this one came from
        try:
            super().start()
        finally:
            sys.modules["__main__"] = main


class _Context(SpawnContext):  # a forked process would hold the parent's threads' locks
    Process = _Process


_opened = Opened()  # of a process that works for another


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops the others
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """Ends this process with the one that it works for: where that was killed, nothing else would."""
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _step(work: bytes, function: Callable[[Any, Any], Any], item: Any) -> Any:
    return function(_opened.get(work), item)  # opened here, where an error finds its way back
