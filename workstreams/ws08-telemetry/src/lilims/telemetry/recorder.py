"""From events to the file, without holding up whoever emits them: a thread writes what has gathered.

Knows queues and threads. Must not know tables. An event costs a call of `keep` and an append; the file is opened, and
SQLite imported, by the thread, with the first record. Nothing here can fail the work that is recorded: if the file
cannot be written, that is logged once and records are dropped.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lilims.core.errors import StorageError
from lilims.core.events import Event, subscribe

from .kept import keep

__all__ = ["Recorder"]

_GATHER = 0.2  # seconds between a record and its writing, in which others join it
_WAITING = 4096  # records that wait at most; the oldest go
_BOUND_EVERY = 256  # records between two looks at the file's age and size; the end of a process is one too
_LAST = 10.0  # seconds that the end of a process waits at most for the last write, behind those of others

Row = tuple[float, str, Mapping[str, Any]]


class Recorder:
    """Records core's events from now until `stop`.

    Args:
        path: the file; None is the one of lilims' home.
        about: kept with each event of the same name, such as the command's name with `command.failed`.
    """

    def __init__(self, path: Path | None = None, *, about: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._about = dict(about or {})
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)  # a fork has no thread, and not the parent's records
        self._unsubscribe = subscribe(self._heard)
        atexit.register(self.stop)

    def stop(self) -> None:
        """Stops listening and writes what waits."""
        self._unsubscribe()
        atexit.unregister(self.stop)
        self._ending.set()
        self._arrived.set()
        if self._thread is not None:
            self._thread.join(_LAST)

    def _begin(self) -> None:
        self._waiting: deque[Row] = deque(maxlen=_WAITING)
        self._arrived, self._ending = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def _heard(self, event: Event) -> None:
        kept = keep(event.name, {**event.fields, **self._about})
        if kept is None:
            return
        self._waiting.append((time.time(), event.name, kept))
        self._arrived.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._write, name="lilims-telemetry", daemon=True)
                    self._thread.start()

    def _write(self) -> None:
        """Writes whenever something has arrived, until the end."""
        from .device import describe
        from .store import Store

        store: Store | None = None
        ended, written, machine = False, 0, None
        try:
            while not ended:
                self._arrived.wait()  # the thread sleeps while nothing happens
                self._arrived.clear()  # before the look at the end, whose signal it would take away
                ended = self._ending.wait(_GATHER)
                rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
                if rows:
                    store, machine = store or Store.open(self._path), machine or describe()
                    store.add(rows, machine)
                    written += len(rows)
                    if written >= _BOUND_EVERY or ended:
                        store.bound()
                        written = 0
        except StorageError as exc:
            self._unsubscribe()
            logging.getLogger("lilims.telemetry").warning("records nothing: %s", exc)
        finally:
            if store is not None:
                store.close()
