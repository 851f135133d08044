"""What runs beside a command while telemetry is on: the recorder of events and the makers of crash reports.

Knows how the parts are put together. Must not know any of them inside. The entry point of
`lilims.listeners` is `start`.
"""

from __future__ import annotations

import contextlib
import threading
from os import PathLike
from pathlib import Path

from lilims.core import cli
from lilims.core.errors import StorageError

from .recorder import Recorder

__all__ = ["Listening", "listen", "start"]

_OWN = "telemetry"  # the command that looks at records makes none


class Listening:
    """Records events until `stop`; a report of each error that nobody expected.

    Args:
        command: the command's name, for its errors.
        path: the file; None is the one of lilims' home.
    """

    def __init__(self, command: str, path: Path | None = None) -> None:
        self._command = command
        self._path = path
        self._recorder = Recorder(path, about={"command": command})
        self._hook = threading.excepthook
        threading.excepthook = self._thread_failed

    def crashed(self, error: BaseException) -> None:
        """Keeps a report of an error."""
        from .crash_report import of_error
        from .device import describe

        self._keep(of_error(error, self._command, describe()))

    def died(self, dump: str) -> None:
        """Keeps a report of what faulthandler wrote, in the process that watches."""
        from .crash_report import of_dump
        from .device import describe

        if report := of_dump(dump, self._command, describe()):
            self._keep(report)

    def stop(self) -> None:
        """Stops and writes what waits."""
        if threading.excepthook == self._thread_failed:
            threading.excepthook = self._hook
        self._recorder.stop()

    def _keep(self, report: str) -> None:
        from .store import Store

        with contextlib.suppress(StorageError), Store.open(self._path) as store:
            store.add_crash(report)

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """An error that ends a thread: nobody expected it either."""
        if failure.exc_value is not None and failure.exc_type is not SystemExit:
            with contextlib.suppress(Exception):
                self.crashed(failure.exc_value)
        self._hook(failure)


class _Silent:
    """Of the command that shows records."""

    def crashed(self, error: BaseException) -> None:
        """Keeps nothing."""

    def stop(self) -> None:
        """Nothing runs."""


def start(command: str) -> Listening | _Silent:
    """Begins to record for a command; core calls it where telemetry is on."""
    if command == _OWN:
        return _Silent()
    found = Listening(command)
    if cli.owns_process:
        from .watcher import watch

        watch(found.died)
    return found


def listen(path: str | PathLike[str] | None = None) -> Listening:
    """Records the events of this process, for a program that uses lilims as a library and asks for it.

    The switch of `lilims telemetry on` is for commands; this is the caller's own decision, to a file of its own or,
    with None, to that of the commands. Fatal signals leave no report.
    """
    return Listening("(library)", None if path is None else Path(path))
