"""A pull request's report: tests, sizes, perplexity and speed in one comment.

Knows options and output. Must not know figures or Markdown.
"""

from __future__ import annotations

from pathlib import Path

import click

from lilims.core import cli
from lilims.core.console import console

__all__ = ["report_command"]

_FOLDER = click.Path(file_okay=False, path_type=Path)


@cli.command("report", epilog="Example: lilims ci report artefacts/head --base artefacts/base -o comment.md")
@click.argument("folder", type=_FOLDER)
@click.option("--base", type=_FOLDER, help="The same of what the change is based on.")
@click.option("--title", default="", metavar="TEXT", help="What was measured, as a commit's id.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the comment to this file.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a test or a gate failed.")
@click.pass_context
def report_command(
    ctx: click.Context, folder: Path, base: Path | None, title: str, output: Path | None, strict: bool
) -> None:
    """Write the comment on a pull request from the files of FOLDER that its jobs left.

    Test results (*.xml) and figures (*.json: sizes, the quality gate's, `lilims bench gate`'s). What is not there is
    said to be missing. No file can do more than be shown: sizes are bounded, and text from files has no meaning.
    """
    from ..figures import read_figures
    from ..reporting import make_report, write_report

    older = read_figures(base) if base and base.is_dir() else None
    report = make_report(read_figures(folder), older, title=title)
    if output:
        write_report(report, output)
        console.note(f"wrote {output}")
    value = {"body": report.body, "failed": list(report.failed), "marked": list(report.marked)}
    if console.json or not output:
        console.result("ci-report", value, lambda _out: console.data(report.body, end=""))
    if strict and report.failed:
        ctx.exit(1)
