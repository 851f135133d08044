"""Write a model in the form that something else runs or takes.

Knows how targets are found: commands of the entry-point group `lilims.exporters`, which any package may add to; one
is imported only when `--to` names it. Must not know any target: each has its own module, options and help.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from lilims.core import cli

__all__ = ["GROUP", "command"]

GROUP = "lilims.exporters"


class _Export(click.Command):
    """A command that becomes the target's own as soon as `--to` names it."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        name, rest = _chosen(args)
        if name is None:
            return super().make_context(info_name, args, parent, **extra)
        return _target(name).make_context(f"{info_name} --to {name}", rest, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def variants(self) -> dict[str, click.Command]:
        """What the command becomes, by the words that do it; the reference of the command line asks."""
        return {f"--to {name}": _target(name) for name in sorted(_targets())}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Targets"):
            formatter.write_dl([(name, cli.summary(entry.module)) for name, entry in sorted(_targets().items())])


def _chosen(args: list[str]) -> tuple[str | None, list[str]]:
    """The target that `--to` names, and the arguments without it."""
    for i, argument in enumerate(args):
        if argument == "--":
            break
        if argument.startswith("--to="):
            return argument.removeprefix("--to="), args[:i] + args[i + 1 :]
        if argument == "--to" and i + 1 < len(args):
            return args[i + 1], args[:i] + args[i + 2 :]
    return None, args


def _targets() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _target(name: str) -> click.Command:
    found = _targets().get(name)
    if found is None:
        known = ", ".join(sorted(_targets())) or "none is installed"
        raise click.UsageError(f"there is no target {name!r}; the targets are {known}")
    loaded = found.load()
    assert isinstance(loaded, click.Command), f"{found.value} is not a command"
    return loaded


@cli.command(
    "export",
    cls=_Export,
    options_metavar="--to TARGET [OPTIONS]",
    epilog="`lilims export --to TARGET --help` shows a target's options.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.option("--to", "target", metavar="TARGET", help="What to write.")
@click.argument("model", required=False)
def command(model: str | None, target: str | None) -> None:
    """Writes MODEL as TARGET. MODEL is a model folder, an installed name, or a package."""
    raise click.UsageError(f"--to is missing; the targets are {', '.join(sorted(_targets())) or 'none'}")
