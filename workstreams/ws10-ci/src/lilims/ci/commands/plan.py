"""Which jobs and packages a change needs.

Knows options and output. Must not know the rules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import console

if TYPE_CHECKING:
    from ..planning import Plan

__all__ = ["plan_command"]

_EPILOG = "Examples: lilims ci plan · lilims ci plan --base HEAD~3 --json · lilims ci plan --github >> $GITHUB_OUTPUT"


@cli.command("plan", epilog=_EPILOG)
@click.option(
    "--base", metavar="REF", default="origin/main", show_default=True, help="Changes are those since it was left."
)
@click.option("--head", metavar="REF", help="The changed tree [default: the checkout as it is].")
@click.option("--github", is_flag=True, help="Print lines for $GITHUB_OUTPUT: jobs, folders, tests, pythons.")
def plan_command(base: str, head: str | None, github: bool) -> None:
    """Say which packages a change reaches, and which jobs have to run.

    A package is reached by what lies in its folder, and by every package that it depends on. Files of no package are
    named in .ci/jobs.toml; what nothing names, or a base that is not there, reaches everything.
    """
    from lilims.core.errors import UsageError

    from ..planning import make_plan
    from ..tree import Tree, changed, commit_of, top

    if github and console.json:
        raise UsageError("--github and --json are two forms of output", hint="choose one")
    root = top(Path.cwd())
    start = commit_of(root, base)
    end = commit_of(root, head) if head is not None else None
    if head is not None and end is None:
        raise UsageError(f"there is no commit {head!r} here", hint="fetch it, or leave --head out")
    tree = Tree.of(root, end)
    files = changed(root, start, end) if start else None
    why = f"there is no commit {base!r} here" if not start else "" if files is not None else f"{base!r} is unrelated"
    plan = make_plan(tree, files, why)
    if github:
        for line in github_lines(plan):
            console.data(line)
        return
    console.result("ci-plan", plan.as_dict(), lambda out: _draw(out, plan))


def github_lines(plan: Plan) -> list[str]:
    """`name=value` for each of a job's outputs; a value is one line, and has no name of a changed file in it."""
    values = {
        "jobs": json.dumps(plan.jobs, sort_keys=True),
        "folders": " ".join(plan.folders),
        "tests": " ".join(plan.tests),
        "pythons": json.dumps(plan.pythons),
    }
    return [f"{name}={value}" for name, value in values.items()]


def _draw(out: Any, plan: Plan) -> None:
    from rich.markup import escape
    from rich.table import Table

    from lilims.core.console import one_line

    rows = Table(box=None, pad_edge=False, show_header=False)
    rows.add_row("everything", escape(one_line(plan.everything))) if plan.everything else None
    reasons = {} if plan.everything else {**{f"({name})": why for name, why in plan.areas.items()}, **plan.packages}
    for name, why in reasons.items():
        rows.add_row(name, escape(one_line(why)))
    out.print(rows)
    for title, names in (("run", [n for n, runs in plan.jobs.items() if runs]),
                         ("left out", [n for n, runs in plan.jobs.items() if not runs]),
                         ("tests", list(plan.tests) or ["all"])):  # fmt: skip
        out.print(f"[bold]{title}[/]: {escape(', '.join(names) or 'nothing')}")
