"""`lilims eval --tasks`: which options go with tasks, and how their figures are shown.

Knows options and tables. Must not know how tasks are run.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lilims.core.console import console

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..evaluation.tasks import Figure, TaskResults

__all__ = ["measure_tasks", "tasks_are_meant"]

_OURS = ("tasks", "limit", "num_fewshot", "task_path")  # go with tasks alone
_BOTH = ("model", "threads")


def tasks_are_meant(context: click.Context) -> bool:
    """Whether MODEL is to be measured on tasks, not on a text.

    Raises:
        UsageError: neither is named, or options of both are.
    """
    from click.core import ParameterSource

    from lilims.core.errors import UsageError

    given = {
        param.name: param.opts[-1]
        for param in context.command.params
        if param.name and isinstance(param, click.Option) and param.expose_value and param.name not in _BOTH
        and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    }  # fmt: skip
    meant = "tasks" in given
    if not meant and "text" not in given:
        raise UsageError("what is the model to be measured on?", hint="name a text with --text, or tasks with --tasks")
    wrong = next((option for name, option in given.items() if (name in _OURS) is not meant), None)
    if wrong is not None:
        raise UsageError(f"{wrong} does not go with {'--tasks' if meant else '--text'}")
    return meant


def measure_tasks(
    model: str, tasks: str, limit: int | None, num_fewshot: int | None, task_path: Path | None, threads: int | None
) -> None:
    """Runs tasks, whose names are joined by commas, and prints what they found."""
    from lilims.core.events import Event, listening

    from ..evaluation.tasks import run_tasks

    names = [name.strip() for name in tasks.split(",") if name.strip()]
    with console.progress("asking", total=1.0) as advance:

        def show(event: Event) -> None:
            if event.name == "evaluate.request":
                done, total = event.fields["done"], event.fields["total"]
                advance(1 / total if done > 1 else 1 / total - 1, f"{done} of {total} requests")

        with listening(show):
            found = run_tasks(
                model, names, limit=limit, num_fewshot=num_fewshot, task_path=task_path, threads=threads
            )  # fmt: skip
    value = {**asdict(found), "num_fewshot": num_fewshot}
    console.result("tasks", value, lambda out: _draw(out, found))


def _draw(out: RichConsole, found: TaskResults) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("task", "metric", "answers"):
        table.add_column(title, no_wrap=True)
    for title in ("shots", "questions", "figure"):
        table.add_column(title, no_wrap=True, justify="right")
    for one in found.figures:
        table.add_row(one.task, one.metric, one.filter, _count(one.shots), _count(one.questions), _figure(one))
    out.print(table)
    limited = "" if found.limit is None else f"; at most {found.limit} questions of a task: not a benchmark"
    out.print(f"[dim]lm-eval {found.lm_eval}{limited}[/]")


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _figure(one: Figure) -> str:
    return f"{one.value:.4f}" if one.error is None else f"{one.value:.4f} ± {one.error:.4f}"
