"""The child process seen from its parent: start it, ask it one thing at a time, stop it.

Knows processes, pipes and timeouts. Must not know what is asked.

A thread of its own writes each request and reads its answer, so that an interrupt (Ctrl-C) in the thread that waits
never leaves half a message in a pipe: the answer comes, and is dropped. The child ends by itself when its input closes.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from typing import IO, Any

from numpy.typing import NDArray

from lilims.core.errors import ExecutionError

from .wire import Arrays, Header, WireError, read_message, write_message

__all__ = ["Child", "ChildGoneError"]

Reply = tuple[Header, Arrays]
_Job = tuple[Mapping[str, Any], Mapping[str, NDArray[Any]], "Future[Reply | None]"]
_MODULE = "lilims.runtime.isolation.child"
_REAP = 5.0  # seconds that a process whose pipe has closed, or that was killed, has to be gone


class ChildGoneError(Exception):
    """The child ended, was stopped, or cannot be talked to any more; the message says which."""


class Child:
    """A running child process.

    Args:
        start_timeout: seconds that it has to answer for the first time.

    Raises:
        ExecutionError: it does not start.
    """

    def __init__(self, start_timeout: float) -> None:
        self._process = _spawn()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        arguments = (self._process.stdin, self._process.stdout, self._jobs)
        thread = threading.Thread(target=_talk, args=arguments, name="lilims-isolation", daemon=True)
        self._stop = weakref.finalize(self, _end, self._process, self._jobs, thread)  # at exit, too
        thread.start()
        try:
            self.request({"op": "hello"}, {}, timeout=start_timeout)
        except ChildGoneError as exc:
            raise ExecutionError(
                f"the executor's process does not start: {exc}", hint="run without isolation to see what it says"
            ) from exc

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def request(self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, timeout: float) -> Reply:
        """Sends a request and waits for the answer.

        Raises:
            ChildGoneError: there will be none; the process is stopped.
        """
        answer: Future[Reply | None] = Future()
        self._jobs.put((header, arrays, answer))
        try:
            found = answer.result(timeout)
        except TimeoutError:
            self.stop()
            raise ChildGoneError(f"gave no answer within {timeout:g} s and was stopped") from None
        except WireError as exc:
            self.stop()
            raise ChildGoneError(f"answered with something else than a message ({exc}) and was stopped") from exc
        except OSError:  # it did not even read the request
            found = None
        if found is None:
            raise ChildGoneError(self._how_it_ended())
        return found

    def stop(self) -> None:
        """Kills the process and waits until it is gone."""
        self._stop()

    def _how_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP)
        code = self._process.poll()
        self.stop()
        if code is None:
            return "closed its pipe and was stopped"
        if code >= 0:
            return f"ended by itself with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"


def _spawn() -> subprocess.Popen[bytes]:
    # The child finds modules where this process does; -P keeps the working directory out of it. What Core ML and
    # other libraries print goes to stderr. Ctrl-C is for the parent: the child ignores it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
    except (OSError, ValueError) as exc:
        raise ExecutionError(
            f"no process can be started for the executor: {exc}", where=sys.executable, hint="run without isolation"
        ) from exc


def _talk(requests: IO[bytes], answers: IO[bytes], jobs: queue.SimpleQueue[_Job | None]) -> None:
    """Writes requests and reads their answers until there is a job None."""
    while (job := jobs.get()) is not None:
        header, arrays, answer = job
        try:
            write_message(requests, header, arrays)
            answer.set_result(read_message(answers))
        except Exception as exc:
            answer.set_exception(exc)
        del job, header, arrays, answer
    for file in (requests, answers):
        with contextlib.suppress(OSError):  # unsent bytes, and nobody to take them
            file.close()


def _end(process: subprocess.Popen[bytes], jobs: queue.SimpleQueue[_Job | None], thread: threading.Thread) -> None:
    jobs.put(None)
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: the system reaps it one day
        process.wait(_REAP)
    if thread is not threading.current_thread() and thread.ident is not None:
        thread.join(_REAP)
