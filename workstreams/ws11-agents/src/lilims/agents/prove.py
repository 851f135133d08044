"""Shows that every open task's acceptance fails today, and for the stated reason.

A command proves something only if it fails before the work: by itself (not at its time limit, not for want of the
program) and with `fails_now` in what it prints. Tasks that are done are left out. Knows specs and outcomes. Must not
know claims.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .git import Git
from .records import Result
from .verifying import clean_worktree, run_acceptance

if TYPE_CHECKING:
    from .spec import Acceptance, Task

__all__ = ["Proof", "prove"]


@dataclass(frozen=True)
class Proof:
    """One command's run. `problem` None: it failed as stated, or belongs to another platform (`skipped`)."""

    task: str
    number: int
    fails_now: str
    result: Result
    problem: str | None

    def as_dict(self) -> dict[str, object]:
        return {
            "task": self.task,
            "acceptance": self.number,
            "fails_now": self.fails_now,
            "problem": self.problem,
            "result": self.result.model_dump(mode="json"),
        }


def prove(
    git: Git, tasks: list[Task], commit: str, jobs: int = 1, done: Callable[[Proof], None] = lambda _proof: None
) -> list[Proof]:
    """Runs every acceptance command of `tasks` in one clean worktree of a commit."""
    with clean_worktree(git, commit) as (tree, scratch), ThreadPoolExecutor(jobs) as pool:

        def one(task: Task, number: int, command: Acceptance) -> Proof:
            result, output = run_acceptance(command, tree, scratch / f"{task.id}-{number}")
            proof = Proof(task.id, number, command.fails_now, result, _problem(command, result, output))
            done(proof)
            return proof

        runs = [pool.submit(one, task, n, c) for task in tasks for n, c in enumerate(task.acceptance)]
        return [run.result() for run in runs]


def _problem(command: Acceptance, result: Result, output: str) -> str | None:
    if result.outcome == "skipped":
        return None
    if result.outcome == "passed":
        return "passes already: it proves nothing"
    if result.outcome == "timeout":
        return f"was still running after {command.timeout_s} s"
    if result.outcome == "not_started":
        return f"does not run: {output.strip().splitlines()[-1]}"
    if " ".join(command.fails_now.split()) in " ".join(output.split()):
        return None
    lines = output.strip().splitlines() or ["(no output)"]
    return f"fails, but not for the stated reason: {lines[-1]}"
