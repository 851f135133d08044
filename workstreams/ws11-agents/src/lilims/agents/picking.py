"""Which task an agent should take next.

Ready tasks that no live claim overlaps, those first that most others wait for; among equals an order of each agent's
own, so that agents who ask at the same time do not all run for the same task. Knows tasks and states. Must not claim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .board import Board

if TYPE_CHECKING:
    from .spec import Task

__all__ = ["candidates", "waiting_for"]


def candidates(board: Board, agent: str, workstream: str | None = None) -> list[Task]:
    """Tasks that `agent` could claim now, best first."""
    tasks = board.catalogue.valid()
    weight = waiting_for({n: t for n, t in tasks.items() if n not in board.catalogue.done})

    def order(task: Task) -> tuple[int, bytes]:
        return -weight.get(task.id, 0), hashlib.sha256(f"{agent}\0{task.id}".encode()).digest()

    free = [
        task
        for task in tasks.values()
        if board.state(task) == "ready"
        and (workstream is None or task.workstream == workstream)
        and not any(board.live(rival) for rival in board.rivals(task.id, tuple(task.touches)))
        and (task.id not in board.claims or board.claims[task.id].readable)
    ]
    return sorted(free, key=order)


def waiting_for(tasks: Mapping[str, Task]) -> dict[str, int]:
    """Task → how many others wait for it, directly or through others."""
    after: dict[str, set[str]] = {name: set() for name in tasks}
    for name, task in tasks.items():
        for other in task.depends_on:
            if other in after:
                after[other].add(name)
    found = {}
    for name in tasks:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            new = after[waiting.pop()] - seen
            seen |= new
            waiting += new
        found[name] = len(seen - {name})
    return found
