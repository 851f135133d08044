"""Windows through a model, and a reference beside it, in one process or in several.

Knows windows, sources and processes. Must not know what figures mean (metrics.py). Each window is computed alone, on an
empty state, with as many threads in every process, and joined in the text's order: how many processes there are changes
no bit of the result. Of logits no more than a chunk of the model and a block of the reference is in memory, and with
transformers a window.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lilims.core.errors import ExecutionError
from lilims.core.events import emit

from .cache import Cached, Shelf
from .metrics import Scores, score
from .sources import Source, Spec, aligned
from .windows import Window

__all__ = ["Work", "run", "score_window", "usual_jobs"]

_WORTH = 4  # windows for which a process is worth its start
_MOST = 16  # processes, if nobody asks for more


@dataclass(frozen=True)
class Work:
    """What every process does.

    Attributes:
        model: what is measured.
        reference: what it is compared with, if it is.
        shelf: where the reference's logits are kept; None keeps none.
    """

    model: Spec
    reference: Spec | None = None
    shelf: Shelf | None = None

    def open(self) -> tuple[Source, Source | None]:
        reference: Source | None = _Lazy(self.reference) if self.reference else None
        if reference is not None and self.shelf is not None:
            reference = Cached(self.shelf, reference)
        return self.model.open(), reference


class _Lazy:
    """A source that is opened when it is first asked: where all its logits are kept, never."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._source: Source | None = None

    def rows(self, window: Window) -> Iterator[Any]:
        self._source = self._source or self._spec.open()
        return self._source.rows(window)


def score_window(window: Window, model: Source, reference: Source | None = None) -> Scores:
    """The figures of a window's tokens.

    Raises:
        ExecutionError: a logit of the model or the reference is not finite; the window is named.
    """
    parts, done = [], 0
    found = model.rows(window)
    for block, wanted in ((b, None) for b in found) if reference is None else aligned(found, reference.rows(window)):
        if not len(block):
            continue
        _check_finite(block, window, "the model")
        if wanted is not None:
            _check_finite(wanted, window, "the reference")
        parts.append(score(block, window.targets[done : done + len(block)], wanted))
        done += len(block)
    return Scores.joined(parts)


def _check_finite(block: Any, window: Window, whose: str) -> None:
    if not np.isfinite(block).all():
        raise ExecutionError(
            f"the logits of {whose} are not finite in window {window.index} (from token {window.start} of the text)",
            hint="in fp16 a residual stream may overflow: convert with --fp16-scale auto",
        )


def run(work: Work, windows: Sequence[Window], *, jobs: int = 1) -> Scores:
    """Figures of all windows' tokens, in the order of the text. Tells `evaluate.window` after each.

    Raises:
        ExecutionError: logits are not finite, the executor fails, or a process dies.
    """
    parts: list[Scores] = []
    total = compared = 0.0
    count = 0
    found = _alone(work, windows) if jobs == 1 else _together(work, windows, jobs)
    with contextlib.closing(found):
        for part in found:
            parts.append(part)
            total, count = total + float(part.nll.sum()), count + len(part.nll)
            compared += float(part.divergence.sum())
            divergence = compared / count if work.reference else None
            emit("evaluate.window", done=len(parts), total=len(windows), nll=total / count, divergence=divergence)
    return Scores.joined(parts)


def _alone(work: Work, windows: Sequence[Window]) -> Generator[Scores, None, None]:
    model, reference = work.open()
    for window in windows:
        yield score_window(window, model, reference)


_work: Work | None = None  # in a process that works for another
_opened: tuple[Source, Source | None] | None = None


def _start(work: Work) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops the others
    threading.Thread(target=_follow, daemon=True).start()
    _work = work


def _follow() -> None:
    """Ends this process with the one that it works for: where that was killed, nothing else would."""
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _step(window: Window) -> Scores:
    global _opened
    assert _work is not None
    _opened = _opened or _work.open()  # here, where an error finds its way back
    return score_window(window, *_opened)


def _together(work: Work, windows: Sequence[Window], jobs: int) -> Generator[Scores, None, None]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    context = multiprocessing.get_context("spawn")  # a forked process would hold the parent's threads' locks
    pool = ProcessPoolExecutor(min(jobs, len(windows)), context, initializer=_start, initargs=(work,))
    try:
        yield from pool.map(_step, windows)
    except BrokenProcessPool as exc:
        raise ExecutionError(
            "a process that evaluates died, perhaps for want of memory", hint="take fewer with --jobs, or --jobs 1"
        ) from exc
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def usual_jobs(windows: int, process_bytes: int, available: int | None) -> int:
    """Processes if nobody says: one a core, as many as memory holds, and none for fewer than four windows."""
    by_memory = _MOST if available is None or not process_bytes else available // process_bytes
    return max(1, min(os.cpu_count() or 1, windows // _WORTH, by_memory, _MOST))
