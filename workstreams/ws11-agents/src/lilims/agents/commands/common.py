"""What the subcommands of `lilims tasks` share: where they work, and how states look."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..board import Board, Workplace
    from ..catalogue import Catalogue
    from ..journal import Journal
    from ..spec import Task

__all__ = ["STYLES", "agent_name", "open_place", "place_options", "plain", "root_folder", "standing"]

STYLES = {"ready": "green", "claimed": "yellow", "blocked": "dim", "done": "blue", "open": ""}
F = TypeVar("F", bound=Callable[..., Any])


def place_options(function: F) -> F:
    """--remote and --branch."""
    remote = click.option("--remote", default="origin", show_default=True, help="Git remote that holds the claims.")
    branch = click.option("--branch", default="main", show_default=True, help="The remote's main branch.")
    return remote(branch(function))


def open_place(remote: str, branch: str) -> tuple[Workplace, Journal]:
    """The clone that the current folder lies in, and its notes."""
    from lilims.core.errors import UsageError
    from lilims.core.settings import settings

    from ..board import Workplace
    from ..git import Git
    from ..journal import Journal
    from ..remote import Remote

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", branch) or ".." in branch:
        raise UsageError(f"{branch!r} is not a branch", hint="--branch main")
    git = Git(Path.cwd())
    top = Git(git.top)
    place = Workplace(top, Remote(top, remote), branch, settings().claims_prefix)
    return place, Journal(top.own_folder, remote)


def root_folder() -> Path:
    """The root of the working tree that the current folder lies in; the current folder where there is no git."""
    folder = Path.cwd()
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return folder


def agent_name(given: str | None) -> str:
    """--agent, or the setting `agent`."""
    from lilims.core.errors import UsageError
    from lilims.core.settings import settings

    name = given or settings().agent
    if not name:
        raise UsageError("who claims? --agent is missing", hint="--agent NAME, or LILIMS_AGENT=NAME")
    return name


def plain(text: str) -> str:
    """Text of a spec for a terminal: no control characters, no markup."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() or c == "\n" else "�" for c in text))


def standing(catalogue: Catalogue, board: Board | None, tasks: dict[str, Task]) -> dict[str, str]:
    """Task → state; without a board (offline) only what the tree itself says: done, blocked, or open."""
    if board is not None:
        return {name: board.state(task) for name, task in tasks.items()}
    done = catalogue.done
    return {
        name: "done" if name in done else "blocked" if set(task.depends_on) - done.keys() else "open"
        for name, task in tasks.items()
    }
