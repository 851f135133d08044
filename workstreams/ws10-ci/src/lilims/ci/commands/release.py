"""Whether versions, pins, changelog and tag agree.

Knows options and output. Must not know what has to agree.
"""

from __future__ import annotations

from pathlib import Path

import click

from lilims.core import cli
from lilims.core.console import console

__all__ = ["release_check_command"]


@cli.command("release-check", epilog="Example: lilims ci release-check --tag v0.2.0")
@click.option("--tag", help="The tag to be released, as v0.2.0: the changelog needs its section, with a date.")
@click.option("--installed", is_flag=True, help="What `lilims --version` says here has to agree as well.")
def release_check_command(tag: str | None, installed: bool) -> None:
    """Say whether a release may be made of this checkout.

    All packages and the umbrella `lilims` have one version, the umbrella pins it and passes on every extra, the
    changelog has the section. Without --tag: whether that holds between releases.
    """
    from importlib.metadata import version

    from ..errors import ReleaseError
    from ..releasing import check_release, version_of
    from ..tree import Tree, top

    tree = Tree.of(top(Path.cwd()))
    running = version("lilims-core") if installed else None
    findings = check_release(tree, tag=tag, running=running)
    for finding in findings[1:]:
        console.note(str(finding))
    if findings:
        more = f" (and {len(findings) - 1} more, above)" if len(findings) > 1 else ""
        raise ReleaseError(f"{findings[0].message}{more}", where=findings[0].path)
    value = {"version": version_of(tree), "tag": tag, "passes": True}
    console.result("release-check", value, lambda out: out.print(f"{value['version']}: versions agree", markup=False))
