"""Engines on the same weights, in turns: one works at a time, and a round measures each of them once.

Knows the order of the work, and ratios within a round. Must not know any engine, nor how figures are shown.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import Child

__all__ = ["START_PROMPT", "Times", "Turns", "in_turns", "ratio", "read_bandwidth"]

START_PROMPT = 16
Times = dict[str, dict[str, list[float]]]
"""Task → engine → seconds (of a token, but for "start"), in the order of the rounds."""


@dataclass(frozen=True)
class Turns:
    """What engines do in turns.

    Attributes:
        depths: numbers of tokens in the cache behind which `tokens` are run one by one; they were run, not made up.
        vocabulary: ids are drawn below this number.
    """

    prompt: int
    tokens: int
    depths: Sequence[int]
    rounds: int
    threads: int | None
    context: int
    vocabulary: int


def in_turns(
    paths: Mapping[str, tuple[str, Path]], turns: Turns, *, progress: Callable[[str], None] = lambda _: None
) -> Times:
    """Seconds of every task of every engine.

    Args:
        paths: label → engine (a name of `engines.ENGINES`) and model.

    Raises:
        LilimsError: an engine is not there, does not open its model, or fails.
    """
    found: Times = {}

    def note(task: str, label: str, seconds: float) -> None:
        found.setdefault(task, {}).setdefault(label, []).append(seconds)

    tasks = {label: _task(engine, path, turns) for label, (engine, path) in paths.items()}
    for number in range(turns.rounds + 1):  # the first one makes graphs, and brings files into the page cache
        for label in paths:
            progress(f"start {number} of {turns.rounds}: {label}")
            seconds = _start(*tasks[label])
            if number:
                note("start", label, seconds)
    with ExitStack() as stack:
        children = {label: stack.enter_context(Child(*task)) for label, task in tasks.items()}
        for child in children.values():
            child.answer()
        progress("prompts")
        for number in range(turns.rounds + 1):  # the first one warms up
            for label, child in children.items():
                child.ask("rewind", 0)
                seconds = sum(child.ask("append", turns.prompt)["seconds"])
                if number:
                    note(f"prompt of {turns.prompt}", label, seconds / turns.prompt)
        for depth in turns.depths:
            progress(f"tokens behind {depth}")
            _one_by_one(children, depth, turns, note)
    return found


def _one_by_one(
    children: Mapping[str, Child], depth: int, turns: Turns, note: Callable[[str, str, float], None]
) -> None:
    for child in children.values():
        child.ask("rewind", 0)
        if depth:
            child.ask("append", depth)
    for number in range(turns.rounds + 1):
        for label, child in children.items():
            seconds = sum(child.ask("one_by_one", turns.tokens)["seconds"])
            child.ask("rewind", depth)
            if number:
                note(f"tokens behind {depth}", label, seconds / turns.tokens)


def _task(engine: str, path: Path, turns: Turns) -> tuple[dict[str, Any], dict[str, str]]:
    task = {"what": "serve", "model": str(path), "engine": engine, "threads": turns.threads, "context": turns.context}
    own = {"lilims-plain": "0", "lilims-kernels": "1"}
    return task | {"vocabulary": turns.vocabulary}, {"LILIMS_KERNELS": own[engine]} if engine in own else {}


def _start(task: dict[str, Any], environment: dict[str, str]) -> float:
    """Seconds from the start of a process until it has a token of a short prompt; files in the page cache."""
    begun = time.perf_counter()
    with Child(task, environment) as child:
        child.answer()
        child.ask("append", START_PROMPT)
        return time.perf_counter() - begun


def ratio(reference: Sequence[float], own: Sequence[float]) -> dict[str, float]:
    """How many times faster than the reference: the median of the ratios within a round, the lowest and the highest."""
    ratios = sorted(theirs / mine for theirs, mine in zip(reference, own, strict=True))
    return {"median": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1]}


def read_bandwidth(threads: int) -> float:
    """Bytes a second at which `threads` threads sum 1 GB of memory, the best of five."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    parts = np.array_split(np.ones(2**27, np.int64), threads)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            begun = time.perf_counter()
            list(pool.map(np.sum, parts))
            best = max(best, 2**30 / (time.perf_counter() - begun))
    return best
