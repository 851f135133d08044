"""Fatal signals: what faulthandler writes goes through a pipe to a small process that makes a report of it.

Knows fork, pipes and faulthandler. Must not know what a report says or where it goes.

faulthandler writes full paths, and the process that it writes for is dead a moment later. So that no such path is
ever on a disk, a fork of the command, made before anything heavy is imported, reads the pipe: at its end, which is the
command's, it hands on what was written, if anything was, and ends. Where there is no fork (Windows) there is no
watcher.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Callable

__all__ = ["watch"]

_MOST = 1 << 20  # bytes of a dump that are read
_pipe: int | None = None  # faulthandler writes to it; it stays open until the process ends


def watch(report: Callable[[str], None]) -> bool:
    """Calls `report` with faulthandler's text, in another process, if a signal ends this one.

    Returns:
        False where that cannot be: no fork, other threads run already, or faulthandler is in use.
    """
    global _pipe
    if not hasattr(os, "fork") or threading.active_count() > 1 or faulthandler.is_enabled():
        return False
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            os.close(writer)
            _detach(reader)
            if dump := _read(reader):
                report(dump)
        finally:
            os._exit(0)
    os.close(reader)
    _pipe = writer
    faulthandler.enable(file=writer, all_threads=True)
    return True


def _detach(reader: int) -> None:
    """Leaves the terminal's process group and lets go of all files, so that nobody waits for this process."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.closerange(3, reader)
    os.closerange(reader + 1, 1024)


def _read(reader: int) -> str:
    found = b""
    while part := os.read(reader, 65536):
        found = (found + part)[:_MOST]
    return found.decode("utf-8", "replace")
