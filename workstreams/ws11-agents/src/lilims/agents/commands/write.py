"""New, lint, schema: write task specs, and check them."""

from __future__ import annotations

import re
import secrets
import shlex
from pathlib import Path
from typing import Any

import click

from lilims.core import cli
from lilims.core.console import console

from .common import plain, root_folder

__all__ = ["lint_command", "new_command", "schema_command"]

_LETTERS, _DIGITS = "abcdefghjkmnpqrstvwxyz", "23456789"  # none that are mistaken for another
_TEMPLATE = """\
schema_version: 1
id: {id}
title: {title}
workstream: {workstream}
size: {size}
depends_on: [{depends_on}]
touches:
{touches}
context: |
  What is there today, why this is wanted, and where to look.
instructions: |
  What is to be done, so that it can be done from this text alone.
acceptance:{acceptance}
lease_minutes: 240
"""


@cli.command("lint", epilog="Exit code 1: there are findings. Example: lilims tasks lint --prove --jobs 2")
@click.option("--prove", "proving", is_flag=True, help="Run each open task's acceptance: it must fail as stated.")
@click.option("--only", multiple=True, metavar="TASK", help="Prove only these; may be repeated.")
@click.option("--commit", default="HEAD", show_default=True, help="What the acceptance commands are run on.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Commands at a time.")
def lint_command(proving: bool, only: tuple[str, ...], commit: str, jobs: int) -> None:
    """Check the specs of the working tree: schema, names, dependencies, records."""
    from lilims.core.errors import UsageError

    from ..catalogue import Catalogue
    from ..git import Git
    from ..prove import Proof, prove

    root = root_folder()
    catalogue = Catalogue.of_folder(root)
    findings = catalogue.lint()
    tasks = {n: t for n, t in catalogue.valid().items() if n not in catalogue.done}
    proofs: list[Proof] = []
    if only and (unknown := sorted(set(only) - tasks.keys())):
        raise UsageError(f"no open, valid task {unknown[0]!r}", hint="`lilims tasks list --offline` shows all")
    if proving:
        git = Git(root)
        if (chosen := git.commit_id(commit)) is None:
            raise UsageError(f"there is no commit {commit!r}", hint="--commit takes a branch, tag or id")

        def show(proof: Proof) -> None:
            word = f"NOT PROVED: {proof.problem}" if proof.problem else proof.result.outcome
            console.note(f"{proof.task} [{proof.number}] {word} ({proof.result.seconds:.1f} s)")

        proofs = prove(git, [t for n, t in tasks.items() if not only or n in only], chosen, jobs, show)
    bad = [proof for proof in proofs if proof.problem]

    def draw(out: Any) -> None:
        for finding in findings:
            out.print(plain(str(finding)))
        for proof in bad:
            out.print(plain(f"{catalogue.specs[proof.task]}: acceptance {proof.number}: {proof.problem}"))
        shown = f"; {len(proofs) - len(bad)} of {len(proofs)} acceptance commands fail as stated" if proving else ""
        out.print(f"{len(catalogue.specs)} specs, {len(findings)} findings{shown}")

    value = {
        "specs": len(catalogue.specs),
        "open": len(tasks),
        "findings": [{"path": f.path, "line": f.line, "rule": f.rule, "message": f.message} for f in findings],
        "proofs": [proof.as_dict() for proof in proofs],
    }
    console.result("lint", value, draw)
    if findings or bad:
        click.get_current_context().exit(1)


@cli.command("new", epilog='Example: lilims tasks new "Bench as JSON" --workstream ws06-bench --touch docs/bench.md')
@click.argument("title")
@click.option("--workstream", required=True, help="Its folder's name, such as ws06-bench.")
@click.option("--touch", "touches", multiple=True, required=True, metavar="GLOB", help="Files that it may change.")
@click.option("--depends-on", multiple=True, metavar="TASK", help="What has to be done before.")
@click.option("--size", type=click.Choice(["small", "medium", "large"]), default="medium", show_default=True)
@click.option("--accept", metavar="COMMAND", help="A command that proves it done; split as a shell splits words.")
@click.option("--fails-now", metavar="TEXT", help="What that command prints today.")
def new_command(
    title: str,
    workstream: str,
    touches: tuple[str, ...],
    depends_on: tuple[str, ...],
    size: str,
    accept: str | None,
    fails_now: str | None,
) -> None:
    """Begin a spec: its id gets a random suffix. `lint` refuses it until it has an acceptance command."""
    import json

    from lilims.core.errors import OutputExistsError, UsageError
    from lilims.core.files import storage_errors, write_atomic

    from ..catalogue import spec_path
    from ..spec import parse_task

    if (accept is None) != (fails_now is None):
        raise UsageError("--accept and --fails-now belong together", hint="what does the command print today?")
    made = _new_id(title)
    acceptance = " []"
    if accept is not None:
        acceptance = f"\n  - run: {json.dumps(shlex.split(accept))}\n    fails_now: {json.dumps(fails_now)}"
    text = _TEMPLATE.format(
        id=made,
        title=json.dumps(title, ensure_ascii=False),
        workstream=json.dumps(workstream),
        size=size,
        depends_on=", ".join(map(json.dumps, depends_on)),
        touches="\n".join(f"  - {json.dumps(glob)}" for glob in touches),
        acceptance=acceptance,
    )
    path = spec_path(workstream, made)
    wrong = [f for f in parse_task(text.encode(), path)[2] if f.rule != "acceptance"]
    if wrong:
        raise UsageError(wrong[0].message, hint="nothing was written")
    target = root_folder() / path
    if target.exists():
        raise OutputExistsError("exists already", where=target, hint="try again")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, text.encode())
    console.result("task", {"id": made, "path": path}, lambda out: out.print(path))


def _new_id(title: str) -> str:
    words = re.findall(r"[a-z0-9]+", title.lower())
    while words and not words[0][0].isalpha():
        words.pop(0)
    slug = "-".join(words)[:40].strip("-") or "task"
    suffix = [secrets.choice(_LETTERS + _DIGITS) for _ in range(4)]
    suffix[secrets.randbelow(4)] = secrets.choice(_DIGITS)  # so that it cannot be a word
    return f"{slug}-{''.join(suffix)}"


@cli.command("schema", epilog="Example: lilims tasks schema -o task.schema.json")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file; stdout if left out.")
def schema_command(output: Path | None) -> None:
    """The JSON Schema of a task spec, for editors and other programs."""
    from lilims.core.files import write_atomic

    from ..spec import schema_file

    data = schema_file().read_bytes()
    if output is None:
        console.data(data.decode(), end="")
    else:
        write_atomic(output, data)
        console.result("schema", {"output": str(output)}, lambda out: out.print(str(output)))
