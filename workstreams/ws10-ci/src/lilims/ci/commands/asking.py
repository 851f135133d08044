"""What `lilims ci probes` and `lilims ci behaviour` have in common: options, the climb, and where its report goes.

Knows click and files. Must not know what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lilims.core import cli
from lilims.core.console import console

if TYPE_CHECKING:
    from ..macos.rungs import Rung

__all__ = ["ask_all", "asking_options"]

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(dir_okay=False, path_type=Path)
_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--executor", type=click.Choice(["auto", "coreml", "portable"]), default="auto", show_default=True,
                 help="Who is asked; auto is Core ML where it can run."),
    click.option("--compute-units", type=click.Choice(["CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"]), default="CPU_ONLY",
                 show_default=True, help="Of Core ML."),
    click.option("--only", multiple=True, metavar="NAME", help="This one; may be repeated."),
    click.option("--limit", type=cli.FiniteRange(min=1), default=60.0, show_default=True,
                 help="Seconds that each may take."),
    click.option("--list", "listed", is_flag=True, help="Tell the questions, and ask none."),
    click.option("--artefact", type=_FILE, metavar="FILE", help="Write the report to this file, as JSON."),
    click.option("--summary", type=_FILE, metavar="FILE", envvar="GITHUB_STEP_SUMMARY",
                 help="Append a Markdown page to this file; in a GitHub workflow the job's summary."),
)  # fmt: skip


def asking_options(function: F) -> F:
    """Who is asked what, and where the report goes."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def ask_all(kind: str, title: str, rungs: Sequence[Rung], options: dict[str, Any]) -> None:
    """Asks, writes the report, and exits with 1 where something did not pass.

    Raises:
        UsageError: `--only` names nothing, or the executor's name is none.
        UnsupportedError: Core ML was asked for and cannot run here.
        MissingDependencyError: there is nothing to make packages with.
        StorageError: a report cannot be written.
    """
    from importlib.util import find_spec

    from lilims.core.errors import MissingDependencyError
    from lilims.runtime import choose

    from ..macos.climbing import chosen, climb, report
    from ..macos.pages import STAND_IN, catalogue, draw

    wanted = chosen(rungs, options["only"])
    if options["listed"]:
        value = {"rungs": [{"name": r.name, "shows": r.shows, "otherwise": r.otherwise} for r in wanted]}
        console.result(f"{kind}-list", value, lambda _out: console.data(catalogue(wanted), end=""))
        return
    executor, units = choose(options["executor"]), options["compute_units"]
    if find_spec("coremltools") is None:
        raise MissingDependencyError(
            "coremltools is not installed: the packages that are asked about are made with it",
            hint="pip install 'coremltools>=9', on Linux or macOS",
        )
    if executor != "coreml":
        console.note(STAND_IN)

    def heard(rung: Rung, result: Any) -> None:
        console.note(f"{rung.name}: {result.outcome}, {result.seconds:.1f} s")

    value = report(wanted, climb(wanted, executor, units, seconds=options["limit"], heard=heard), executor, units)
    _keep(kind, title, value, options)
    console.result(kind, value, lambda out: draw(out, value))
    if not value["passed"]:
        click.get_current_context().exit(1)


def _keep(kind: str, title: str, value: dict[str, Any], options: dict[str, Any]) -> None:
    """Writes the files that were asked for."""
    from lilims.core.files import storage_errors, write_json

    from ..macos.pages import markdown

    if options["artefact"] is not None:
        write_json(options["artefact"], {"kind": kind, "schema_version": 1, **value})
    if options["summary"] is not None:
        with storage_errors(options["summary"]), options["summary"].open("a", encoding="utf-8") as file:
            file.write(markdown(title, value) + "\n")
