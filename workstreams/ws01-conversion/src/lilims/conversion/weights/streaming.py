"""Tensors into weight.bin: quantised piece by piece, on several threads, written in order.

Knows how much is in memory at a time. Must not know where values come from or how they are quantised.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from math import prod

from lilims.core.events import emit

from ..stored import Stored
from .placing import Placed, place
from .weight_file import WeightFile

__all__ = ["AHEAD", "MOST_JOBS", "Piece", "Tensor", "default_jobs", "ordered", "write_tensors"]

MOST_JOBS = 64
_BY_DEFAULT = 8  # more threads than that wait for memory
AHEAD = 1 << 25  # elements that are read ahead of the one that is written, unless a single piece has more


@dataclass(frozen=True)
class Tensor:
    """A tensor that is going to be written.

    Attributes:
        role: what it is for; unique.
        shape: as it is stored, padding included.
        fell_back: whether it takes another scheme than was asked for.
    """

    role: str
    shape: tuple[int, ...]
    fell_back: bool = False


@dataclass(frozen=True)
class Piece:
    """Some rows of a tensor: `make` reads and quantises them. Pieces of a tensor follow each other."""

    tensor: Tensor
    elements: int
    make: Callable[[], Stored]


def default_jobs() -> int:
    """Threads that quantise unless the user says how many: the cores of this process, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _BY_DEFAULT)


def ordered(pieces: Iterable[Piece], jobs: int) -> Iterator[tuple[Piece, Stored]]:
    """Makes pieces on `jobs` threads and yields them in order. One job is no thread at all.

    Few are made ahead of the one that is asked for, so that memory stays bounded whatever the model's size.
    """
    if jobs == 1:
        for piece in pieces:
            yield piece, piece.make()
        return
    with ThreadPoolExecutor(jobs, thread_name_prefix="lilims-convert") as pool:
        waiting: deque[tuple[Piece, Future[Stored]]] = deque()
        ahead = 0
        try:
            for piece in pieces:
                while waiting and (ahead + piece.elements > AHEAD or len(waiting) > 2 * jobs):
                    done, future = waiting.popleft()
                    yield done, future.result()
                    ahead -= done.elements
                    del future
                waiting.append((piece, pool.submit(piece.make)))
                ahead += piece.elements
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def write_tensors(
    file: WeightFile, pieces: Iterable[Piece], *, jobs: int, tensors: int, elements: int, done: int = 0
) -> Iterator[tuple[str, Placed]]:
    """Writes tensors one after another; yields each with its place once all of it is written.

    Emits `convert.tensor` for each: role, scheme, bytes (of its float32 values), written (bytes of the file),
    fell_back, done and total (tensors), eta (seconds that the rest will take at the pace so far).

    Args:
        tensors, elements: how many there are in all, for progress.
        done: tensors that an earlier run has written; `pieces` does not hold them.
    """
    started, read = time.perf_counter(), 0
    results = ordered(pieces, jobs)
    for tensor, group in groupby(results, key=lambda result: result[0].tensor):
        placed = place(file, tensor.shape[0], (made for _, made in group))
        count = prod(tensor.shape)
        read, done = read + count, done + 1
        eta = (time.perf_counter() - started) * max(0, elements - read) / max(1, read)
        emit(
            "convert.tensor",
            role=tensor.role,
            scheme=placed.form.label,
            bytes=4 * count,
            written=file.size,
            fell_back=tensor.fell_back,
            done=done,
            total=tensors,
            eta=eta,
        )
        yield tensor.role, placed
