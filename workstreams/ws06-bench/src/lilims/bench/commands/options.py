"""Options that several subcommands share.

Knows click. Must not know what is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lilims.core.console import console

__all__ = ["chosen_format", "models_argument", "progress", "workload_of", "workload_options"]

F = TypeVar("F", bound=Callable[..., Any])
_SIZE = click.IntRange(min=1)

_LOADING: tuple[Callable[..., Any], ...] = (
    click.option("--threads", type=_SIZE, help="Threads of the portable executor."),
    click.option("--executor", type=click.Choice(["auto", "coreml", "portable"]), default="auto",
                 help="Who runs the package."),
    click.option("--precision", type=click.Choice(["fast", "exact", "fp16"]), default="fast",
                 help="Of the portable executor."),
)  # fmt: skip
_WORK: tuple[Callable[..., Any], ...] = (
    click.option("-p", "--prompt", type=_SIZE, default=512, show_default=True, help="Tokens of the prompt."),
    click.option("-n", "--tokens", type=_SIZE, default=128, show_default=True, help="Tokens that are decoded."),
    click.option("-d", "--depth", type=click.IntRange(min=0), default=0, show_default=True,
                 help="Tokens that are in the cache before."),
    click.option("-r", "--repetitions", type=_SIZE, default=5, show_default=True, help="How often each is measured."),
    click.option("--cold", type=click.IntRange(min=0), default=3, show_default=True,
                 help="Processes that are started to measure a start; 0 leaves it out."),
)  # fmt: skip


def _all(function: F, options: tuple[Callable[..., Any], ...]) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def workload_options(function: F) -> F:
    """What is measured, and how a model is loaded for it."""
    return _all(function, (*_WORK, *_LOADING))


def models_argument(function: F) -> F:
    """Any number of models, positional or as -m/--model; passed on as `models`, the built-in one if there is none."""

    def merge(ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> tuple[str | None, ...]:
        positional: tuple[str, ...] = ctx.params.pop("positional_models", ())
        return (*positional, *value) or (None,)

    option = click.option("-m", "--model", "models", multiple=True, metavar="MODEL", callback=merge,
                          help="The same as MODEL; may be repeated.")  # fmt: skip
    argument = click.argument("positional_models", nargs=-1, metavar="[MODEL]...", is_eager=True)
    return argument(option(function))


def workload_of(options: dict[str, Any]) -> Any:
    """The workload that the options say."""
    from ..workload import Workload

    return Workload(**{name: options[name] for name in Workload.__dataclass_fields__ if name in options})


def progress(text: str) -> None:
    """What is being done, on stderr of a terminal."""
    import sys

    if sys.stderr.isatty() and not console.json:
        console.note(text)


def chosen_format(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """`-o json` is `--json`."""
    console.json = console.json or value == "json"
    return "json" if console.json else value
