"""Runs a task's acceptance commands in a clean worktree of a commit, and keeps what they showed.

The commands are those of the spec on the main branch, not of the branch that is verified. They are trusted as the
repository's tests are: they run with the user's rights. Knows worktrees and evidence. Must not know claims.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import overlay, process
from .git import Git
from .records import Evidence, Result

if TYPE_CHECKING:
    from .spec import Acceptance, Task

__all__ = ["Done", "clean_worktree", "run_acceptance", "verify"]

_TAIL = 4000  # characters of output in the evidence
_PLATFORM = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)

Done = Callable[["Acceptance", Result, str], None]


@contextlib.contextmanager
def clean_worktree(git: Git, commit: str) -> Iterator[tuple[Path, Path]]:
    """A checkout of a commit and an empty scratch folder, both gone afterwards. What killed ones left is pruned."""
    git.run("worktree", "prune")
    with tempfile.TemporaryDirectory(prefix="lilims-verify-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        tree = folder / "tree"
        git.out("-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            yield tree, folder / "scratch"
        finally:
            git.run("worktree", "remove", "--force", "--force", str(tree))
            shutil.rmtree(tree, ignore_errors=True)
    git.run("worktree", "prune")


def verify(git: Git, task: Task, commit: str, done: Done = lambda _command, _result, _output: None) -> Evidence:
    """Runs all of a task's commands on a commit. `done` is called after each, with all of the output that was kept."""
    with clean_worktree(git, commit) as (tree, scratch):
        results = []
        for number, command in enumerate(task.acceptance):
            result, output = run_acceptance(command, tree, scratch / str(number))
            results.append(result)
            done(command, result, output)
    return Evidence(
        task=task.id, commit=commit, platform=platform.platform(), python=platform.python_version(), results=results
    )


def run_acceptance(command: Acceptance, tree: Path, scratch: Path) -> tuple[Result, str]:
    """Runs one command on the tree; its result and its output."""
    if command.platform not in ("any", _PLATFORM):
        return _result(command, "skipped", process.Outcome(None, False, False, 0.0, "", 0, ""), ""), ""
    cwd = (tree / command.cwd).resolve()
    if not cwd.is_relative_to(tree.resolve()) or not cwd.is_dir():  # a link may lead out of the tree
        text = f"the folder {command.cwd!r} is not in the tree"
        return _result(command, "not_started", process.Outcome(None, False, False, 0.0, text, 0, ""), text), text
    outcome = process.run(command.run, cwd, overlay.environment(tree, scratch), command.timeout_s)
    text = _private(outcome.output, tree, scratch)
    if outcome.timed_out:
        text += f"\n[ended after {command.timeout_s} s]"
        return _result(command, "timeout", outcome, text), text
    if not outcome.started:
        return _result(command, "not_started", outcome, text), text
    return _result(command, "failed" if outcome.exit_code else "passed", outcome, text), text


def _private(text: str, tree: Path, scratch: Path) -> str:
    """Output without the names of this machine's folders: evidence is published."""
    for folder, name in ((tree, "<tree>"), (scratch, "<scratch>"), (Path.home(), "~")):
        if len(str(folder)) > 4:
            text = text.replace(str(folder), name)
    return text


def _result(
    command: Acceptance,
    outcome: Literal["passed", "failed", "timeout", "not_started", "skipped"],
    seen: process.Outcome,
    text: str,
) -> Result:
    return Result(
        run=list(command.run),
        cwd=command.cwd,
        outcome=outcome,
        exit_code=seen.exit_code,
        seconds=round(seen.seconds, 3),
        output_bytes=seen.output_bytes,
        output_sha256=seen.output_sha256,
        output_tail=text[-_TAIL:],
    )
