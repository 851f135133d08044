"""Windows through a model, and a reference beside it, whoever does the work.

Knows windows and sources. Must not know what figures mean (metrics.py), nor processes and machines (workers/). Each
window is computed alone, on an empty state, with as many threads in every process, and joined in the text's order: how
many processes there are changes no bit of the result. Of logits no more than a chunk of the model and a block of the
reference is in memory, and with transformers a window.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lilims.core.errors import ExecutionError, LilimsError
from lilims.core.events import emit

from ..workers.base import Serial, Workers
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
        stamps: where others than this machine may do the work: what they have to find in the folders.
    """

    model: Spec
    reference: Spec | None = None
    shelf: Shelf | None = None
    stamps: tuple[str, ...] | None = None

    @property
    def specs(self) -> list[Spec]:
        return [self.model] if self.reference is None else [self.model, self.reference]

    def stamped(self) -> Work:
        """The same, to be sent to other machines."""
        return replace(self, stamps=tuple(spec.stamp for spec in self.specs))

    def open(self) -> tuple[Source, Source | None]:
        """Raises ExecutionError where a folder is not the one that was meant, or is not there."""
        shelf = self.shelf
        if self.stamps is not None:
            for spec, stamp in zip(self.specs, self.stamps, strict=True):
                _check_same(spec, stamp)
            shelf = shelf if shelf is not None and shelf.folder.is_dir() else None  # not a disk of its own
        reference: Source | None = _Lazy(self.reference) if self.reference else None
        if reference is not None and shelf is not None:
            reference = Cached(shelf, reference)
        return self.model.open(), reference


def _check_same(spec: Spec, stamp: str) -> None:
    from platform import node

    hint = "workers need the folders of model and reference at the same path, as on a shared disk"
    try:
        found = spec.stamp
    except (LilimsError, OSError) as exc:
        raise ExecutionError(f"the worker on {node()} cannot read what it has to run: {exc}", hint=hint) from exc
    if found != stamp:
        raise ExecutionError(f"the worker on {node()} has another model there", where=spec.place, hint=hint)


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


def run(work: Work, windows: Sequence[Window], *, workers: Workers | None = None) -> Scores:
    """Figures of all windows' tokens, in the order of the text. Tells `evaluate.window` after each.

    Raises:
        ExecutionError: logits are not finite, the executor fails, or those who work are gone.
    """
    parts: list[Scores] = []
    total = compared = 0.0
    count = 0
    if work.shelf is not None:
        with contextlib.suppress(OSError):  # what cannot be kept is computed each time
            work.shelf.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing((workers or Serial()).map(_step, work, windows)) as found:
        for part in found:
            parts.append(part)
            total, count = total + float(part.nll.sum()), count + len(part.nll)
            compared += float(part.divergence.sum())
            divergence = compared / count if work.reference else None
            emit("evaluate.window", done=len(parts), total=len(windows), nll=total / count, divergence=divergence)
    return Scores.joined(parts)


def _step(opened: tuple[Source, Source | None], window: Window) -> Scores:
    return score_window(window, *opened)


def usual_jobs(windows: int, process_bytes: int, available: int | None) -> int:
    """Processes if nobody says: one a core, as many as memory holds, and none for fewer than four windows."""
    by_memory = _MOST if available is None or not process_bytes else available // process_bytes
    return max(1, min(os.cpu_count() or 1, windows // _WORTH, by_memory, _MOST))
