"""Whose turn it is: one thread that gives every running job a turn after the other.

Knows jobs, their order and how many may run. Must not know models, text or protocols.

A turn is a slice of a prompt or one token, so between two tokens of a job every other running job has one turn at most:
a long answer does not hold up a short one. One thread is enough, and the executor's threads have the cores for
themselves. A job whose reader is slow is passed over; one whose reader is gone for long is ended.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from .errors import StalledError, StoppedError
from .job import Job

__all__ = ["Scheduler"]

_LOOK = 1.0  # seconds between two looks at readers that stall
_LOG = logging.getLogger("lilims.ui")


class Scheduler:
    """The thread and its two queues.

    Args:
        parallel: jobs that run side by side at most.
        stall: seconds that a reader may leave an answer unread.
    """

    def __init__(self, parallel: int, stall: float) -> None:
        self._parallel = parallel
        self._stall = stall
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: deque[Job] = deque()
        self._current: Job | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Jobs that wait for their first turn."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs that have a cache."""
        with self._changed:
            current = self._current is not None and self._current.state != "ended"
            return len(self._running) + current

    def start(self) -> None:
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="lilims-scheduler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends all jobs with a StoppedError, and the thread after the turn that it is in."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def add(self, job: Job) -> None:
        """Puts a job at the end of the queue.

        Raises:
            StoppedError: the thread does not run.
        """
        with self._changed:
            if self._stopping or self._thread is None or not self._thread.is_alive():
                raise StoppedError("the engine is being stopped")
            self._waiting.append(job)
            self._changed.notify()

    def wake(self) -> None:
        """Something has changed: a reader has made room, or a job was cancelled."""
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                self._turn(job)
                with self._changed:
                    self._current = None
                    if job.state != "ended":
                        self._running.append(job)
                del job  # while this waits, nothing holds a model that may be unloaded
        finally:  # whatever happens: nobody waits for an answer that does not come
            self._end_all()

    def _next(self) -> Job | None:
        """The job whose turn it is, taken out of its queue; waits for one. None: stop."""
        with self._changed:
            while not self._stopping:
                self._admit()
                for _ in range(len(self._running)):
                    job = self._running.popleft()
                    if job.cancelled or job.full_since is None or self._stalled(job):
                        self._current = job
                        return job
                    self._running.append(job)
                self._changed.wait(_LOOK if self._running else None)
            return None

    def _admit(self) -> None:
        """Waiting jobs that can run now, the first ones first; cancelled ones run to end."""
        later: list[Job] = []
        while self._waiting:
            job = self._waiting.popleft()
            if job.cancelled:
                self._running.append(job)
            elif len(self._running) < self._parallel and self._places(job):
                job.state, job.began = "running", time.perf_counter()
                self._running.append(job)
            else:
                later.append(job)
        self._waiting.extend(later)

    def _places(self, job: Job) -> bool:
        """Whether its model has a cache for it beside the running jobs."""
        assert job.work is not None
        caches = job.work.caches
        return sum(one.work is not None and one.work.caches is caches for one in self._running) < caches.most

    def _stalled(self, job: Job) -> bool:
        since = job.full_since
        return since is not None and time.monotonic() - since > self._stall

    def _turn(self, job: Job) -> None:
        try:
            if not job.cancelled and self._stalled(job):
                raise StalledError("the answer was not read for too long")
            job.turn()
        except Exception as error:
            _LOG.info("a generation failed: %s", type(error).__name__)
            job.end(error)

    def _end_all(self) -> None:
        with self._changed:
            jobs = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        for job in jobs:
            job.end(StoppedError("the engine was stopped"))
