"""List, show, next, graph: what there is to do, and its state. Changes nothing (but `next --claim`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import console

from .common import STYLES, agent_name, open_place, place_options, plain, root_folder, standing

if TYPE_CHECKING:
    from ..board import Board
    from ..catalogue import Catalogue
    from ..spec import Task

__all__ = ["graph_command", "list_command", "next_command", "show_command"]

_offline = click.option("--offline", is_flag=True, help="Read the working tree; claims are then not known.")


def _read(offline: bool, remote: str, branch: str) -> tuple[Catalogue, Board | None]:
    if offline:
        from ..catalogue import Catalogue

        return Catalogue.of_folder(root_folder()), None
    board = open_place(remote, branch)[0].board()
    return board.catalogue, board


def _row(task: Task, state: str, board: Board | None) -> dict[str, Any]:
    holder = board.holder(task.id) if board else None
    return {
        "id": task.id,
        "state": state,
        "title": task.title,
        "workstream": task.workstream,
        "size": task.size,
        "depends_on": task.depends_on,
        "waits_for": board.missing(task) if board else [],
        "claim": holder.as_dict() if holder else None,
    }


@cli.command("list", epilog="Example: lilims tasks list --state ready --json")
@click.option("--state", type=click.Choice(["ready", "claimed", "blocked", "done", "open"]), help="Only these.")
@click.option("--workstream", help="Only these, such as ws01-conversion.")
@click.option("--mine", is_flag=True, help="Only tasks that were claimed from this clone.")
@_offline
@place_options
def list_command(
    state: str | None, workstream: str | None, mine: bool, offline: bool, remote: str, branch: str
) -> None:
    """Every task and its state."""
    catalogue, board = _read(offline, remote, branch)
    tasks = catalogue.valid()
    states = standing(catalogue, board, tasks)
    chosen = [n for n in tasks if state in (None, states[n]) and workstream in (None, tasks[n].workstream)]
    if mine:
        journal = open_place(remote, branch)[1]
        chosen = [n for n in chosen if journal.knows(n)]
    rows = [_row(tasks[name], states[name], board) for name in chosen]
    invalid = sorted(catalogue.specs.keys() - tasks.keys())

    def draw(out: Any) -> None:
        from rich.table import Table

        table = Table("task", "state", "size", "title", "held by", box=None, header_style="bold")
        for row in rows:
            held = row["claim"]["agent"] if row["claim"] else ", ".join(row["waits_for"])
            table.add_row(row["id"], f"[{STYLES[row['state']] or 'none'}]{row['state']}[/]", row["size"],
                          plain(row["title"]), plain(held))  # fmt: skip
        out.print(table if rows else "no task")

    console.result("tasks", {"tasks": rows, "invalid": invalid}, draw)
    if invalid:
        console.note(f"note: {len(invalid)} specs are not valid; `lilims tasks lint` shows why")


@cli.command("show", epilog="Example: lilims tasks show ID --json")
@click.argument("task")
@_offline
@place_options
def show_command(task: str, offline: bool, remote: str, branch: str) -> None:
    """One task: its whole spec, its state and its claim."""
    catalogue, board = _read(offline, remote, branch)
    found = catalogue.task(task)
    state = standing(catalogue, board, {task: found})[task]
    row = _row(found, state, board)

    def draw(out: Any) -> None:
        import shlex

        out.print(f"[bold]{plain(found.title)}[/]")
        out.print(f"{found.id} · {found.workstream} · {found.size} · [{STYLES[state] or 'none'}]{state}[/]")
        if row["claim"]:
            out.print(f"held by {plain(row['claim']['agent'])} until {row['claim']['expires_at']}")
        if found.depends_on:
            out.print(f"depends on {', '.join(found.depends_on)}")
        out.print(f"touches {plain(', '.join(found.touches))}\n")
        out.print(plain(found.context.strip()) + "\n")
        out.print(plain(found.instructions.strip()) + "\n")
        for command in found.acceptance:
            out.print(f"[bold]$[/] {plain(shlex.join(command.run))}")
            out.print(f"  today: {plain(command.fails_now)}", style="dim")

    console.result("task", {**row, "spec": found.model_dump(mode="json")}, draw)


@cli.command("next", epilog="Exit code 1: nothing can be claimed now. Example: lilims tasks next --claim --agent NAME")
@click.option("--agent", help="Who asks: agents who ask at the same time get different tasks.")
@click.option("--workstream", help="Only of this workstream.")
@click.option("--claim", "take", is_flag=True, help="Claim it, too; if another is faster, the one after it.")
@place_options
def next_command(agent: str | None, workstream: str | None, take: bool, remote: str, branch: str) -> None:
    """The task to take next: ready, free of overlaps, and the one that most others wait for."""
    from ..claiming import claim
    from ..errors import ClaimHeldError, NothingReadyError, NotReadyError, OverlapError
    from ..picking import candidates

    place, journal = open_place(remote, branch)
    board = place.board()
    name = agent_name(agent) if take else agent or ""
    for task in candidates(board, name, workstream):
        if not take:
            _show_next(task, board)
            return
        try:
            won = claim(place, journal, task.id, name)
        except (ClaimHeldError, NotReadyError, OverlapError):
            continue
        from .hold import show_claim

        show_claim(won)
        return
    raise NothingReadyError("no task can be claimed now", hint="`lilims tasks list` shows what each waits for")


def _show_next(task: Task, board: Board) -> None:
    value = {**_row(task, "ready", board), "spec": task.model_dump(mode="json")}
    console.result("task", value, lambda out: out.print(task.id))


@cli.command("graph", epilog="Example: lilims tasks graph -o tasks.svg")
@click.option("--format", "form", type=click.Choice(["dot", "svg"]), help="Default: the output's ending, or dot.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file; stdout if left out.")
@_offline
@place_options
def graph_command(form: str | None, output: Path | None, offline: bool, remote: str, branch: str) -> None:
    """The dependency graph by workstream and state, as Graphviz text or as SVG."""
    from lilims.core.files import write_atomic

    from .. import graph

    catalogue, board = _read(offline, remote, branch)
    tasks = catalogue.valid()
    states = standing(catalogue, board, tasks)
    wanted = form or ("svg" if output and output.suffix == ".svg" else "dot")
    text = (graph.svg if wanted == "svg" else graph.dot)(tasks, states)
    if output:
        write_atomic(output, text.encode())
    written = {"output": str(output) if output else None, "format": wanted}
    if output is None and not console.json:
        console.data(text, end="")
        return
    console.result("graph", {**written, **graph.as_json(tasks, states)}, lambda out: out.print(str(output)))
