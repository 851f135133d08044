"""Runs one command with a time limit and keeps a bounded part of what it prints.

The command gets no shell, no stdin, and a process group of its own, which is ended as a whole: what it leaves running
when it exits, too. Knows processes. Must not know tasks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

__all__ = ["Outcome", "run"]

_HEAD, _TAIL = 8 << 10, 56 << 10  # bytes of output that are kept
_MERCY = 2.0  # seconds between asking a command to end and ending it


@dataclass(frozen=True)
class Outcome:
    """What came of a command. `exit_code` None: it was ended at the time limit, or did not start."""

    exit_code: int | None
    timed_out: bool
    started: bool
    seconds: float
    output: str
    output_bytes: int
    output_sha256: str


class _Keeper:
    """Reads a pipe to its end and keeps its first and last bytes."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe, self.size, self.digest = pipe, 0, hashlib.sha256()
        self.head, self.tail = b"", b""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self.pipe:
            while block := os.read(self.pipe.fileno(), 1 << 16):
                self.size += len(block)
                self.digest.update(block)
                room = _HEAD - len(self.head)
                self.head += block[:room]
                self.tail = (self.tail + block[room:])[-_TAIL:]

    def text(self) -> str:
        left_out = self.size - len(self.head) - len(self.tail)
        middle = f"\n[… {left_out} bytes left out …]\n".encode() if left_out > 0 else b""
        return (self.head + middle + self.tail).decode("utf-8", "replace")


def run(command: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout_s: float) -> Outcome:
    """Runs a command to its end, or to the end of its time."""
    started = time.monotonic()
    program = shutil.which(command[0], path=environment.get("PATH")) or command[0]
    group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    try:
        process = subprocess.Popen(
            [program, *command[1:]],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **group,
        )
    except (OSError, ValueError) as exc:
        text = f"{command[0]}: cannot be started: {exc}"
        return Outcome(None, False, False, 0.0, text, len(text), hashlib.sha256(text.encode()).hexdigest())
    assert process.stdout is not None
    keeper = _Keeper(process.stdout)
    timed_out = True
    try:
        timed_out = not _exited(process, timeout_s)
    finally:
        _end(process)
    keeper.thread.join(_MERCY)  # a process that left the group may hold the pipe open: it is not waited for
    code = None if timed_out else process.returncode
    seconds = time.monotonic() - started
    return Outcome(code, timed_out, True, seconds, keeper.text(), keeper.size, keeper.digest.hexdigest())


def _exited(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Whether a command exits in time. It is not reaped where that can be helped: its group's id stays its own."""
    if not hasattr(os, "waitid"):  # Windows; macOS before Python 3.13
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True
    end, pause = time.monotonic() + timeout_s, 0.001
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends whatever is left of a command's process group."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True)
        process.wait()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
        _exited(process, _MERCY)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
