"""A function in a process of its own, whatever it does there: crash, hang, fill its output, end without a word.

Knows processes, signals and time. Must not know what is asked. The answer is a file: a library that prints, or a child
of the process that keeps a pipe open, cannot spoil it.
"""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from .rungs import Result, Rung, Target

__all__ = ["LIMIT", "ask"]

LIMIT = 60.0
"""Seconds that a rung may take."""
_ANSWER_BYTES = 1 << 20
_KEPT = 16 << 10  # bytes of output that are kept: the last ones
_REAP = 10.0  # seconds that a process has to be gone once it was killed


def ask(rung: Rung, target: Target, *, seconds: float = LIMIT) -> Result:
    """Runs a rung in a process of its own and says what became of it. Nothing that it does raises here."""
    answer = target.work / "answer.json"
    command = [
        sys.executable, "-P", "-X", "faulthandler", "-m", "lilims.ci.macos.child", rung.home, str(answer),
        target.executor, target.compute_units, str(target.work), str(target.shared),
    ]  # fmt: skip
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=sys.platform != "win32",  # so that what it starts is killed with it
    )
    assert process.stdout is not None
    tail = _Tail(process.stdout)
    try:
        process.wait(seconds)
        hung = False
    except subprocess.TimeoutExpired:
        hung = True
    finally:
        _end(process)
    took = time.perf_counter() - begun
    said = tail.text()
    if hung:
        return Result(rung.name, "hung", f"stopped after {seconds:.0f} s", took, output=said)
    value = _read(answer)
    if process.returncode or value is None:
        return Result(rung.name, "crashed", _how(process.returncode), took, output=said)
    if "error" in value:
        return Result(rung.name, "refused", str(value["error"]), took, output=said)
    passed = bool(value["passed"])
    outcome: Any = "passed" if passed else "differs"
    figures = {name: number for name, number in value["figures"].items() if math.isfinite(number)}  # JSON has no others
    return Result(rung.name, outcome, str(value["what"]), took, figures, "" if passed else said)


class _Tail:
    """The last of what a process prints, read by a thread so that no pipe fills up."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._parts: collections.deque[bytes] = collections.deque()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        held = 0
        with contextlib.suppress(OSError, ValueError):
            while part := os.read(self._stream.fileno(), 1 << 16):
                self._parts.append(part)
                held += len(part)
                while held - len(self._parts[0]) >= _KEPT:
                    held -= len(self._parts.popleft())

    def text(self) -> str:
        self._thread.join(_REAP)  # the group was killed: the pipe is at its end, unless a stray process holds it
        if not self._thread.is_alive():
            self._stream.close()
        return b"".join(self._parts)[-_KEPT:].decode("utf-8", "replace").strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the process and all that it has started, where anything is left."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_REAP)


def _read(answer: Path) -> dict[str, Any] | None:
    """The answer, None where there is none or it is not one."""
    try:
        with answer.open("rb") as file:
            value = json.loads(file.read(_ANSWER_BYTES))
    except (OSError, ValueError):
        return None
    good = isinstance(value, dict) and ("error" in value or {"passed", "what", "figures"} <= value.keys())
    return value if good else None


def _how(code: int | None) -> str:
    if code is None:
        return "it cannot be stopped"
    if code >= 0:
        return f"ended with exit code {code} and no answer"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
