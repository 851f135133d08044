"""`lilims docs check`: links and anchors that lead nowhere, with file and line.

Knows the options and how findings are printed. Must not know how they are found.
"""

from __future__ import annotations

from pathlib import Path

import click

from lilims.core import cli
from lilims.core.console import console

__all__ = ["check_command"]


@cli.command("check", epilog="Exit codes: 0 every link leads somewhere · 1 some do not · 2 usage.")
@click.argument("folder", default="docs", type=click.Path(path_type=Path))
def check_command(folder: Path) -> None:
    """Say which links and anchors of the Markdown files in FOLDER (docs) lead nowhere. Nothing is fetched."""
    from ..links import check_links
    from ..markdown import pages

    count = len(pages(folder))
    problems = check_links(folder)
    found = [{"file": str(p.file), "line": p.line, "message": p.message} for p in problems]
    if console.json:
        console.result("links", {"pages": count, "problems": found})
    else:
        for problem in problems:
            console.data(str(problem))
        console.note(f"{count} pages, {len(problems)} links that lead nowhere")
    if problems:
        click.get_current_context().exit(1)
