"""Measure models: speed, first token, memory, energy; compare, estimate devices, guard against regressions.

Knows which module holds which subcommand, and that what is no subcommand is a model. Must not import one before it is
asked for.
"""

from __future__ import annotations

from importlib import import_module

import click

__all__ = ["command"]

_NAMES = ("compare", "estimate", "gate", "gates", "history", "models", "soak")  # each a module of this package
_DEFAULT = "models"
_EPILOG = "A model that is called like a subcommand: lilims bench -m NAME. docs/bench.md"


class _Subcommands(click.Group):
    """Without the name of a subcommand the arguments are those of `bench models`."""

    default_command = _DEFAULT  # the reference of the command line asks

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_NAMES)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _NAMES:
            return None
        found = import_module(f".{name}", __package__).command
        assert isinstance(found, click.Command)
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in {*_NAMES, *self.get_help_option_names(ctx)}:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def format_usage(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("lilims bench", "[MODEL]... [OPTIONS]")
        formatter.write_usage("lilims bench", "SUBCOMMAND [ARGS]...", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        default = self.get_command(ctx, _DEFAULT)
        assert default is not None
        default.format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group("bench", cls=_Subcommands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Measure MODELs, by default the built-in one, each in a process of its own.

    Prefill and decode in tokens/s, time to the first token in a new process and in a warm one, loading, memory, energy
    where the machine counts it, and the perplexity that `lilims eval` recorded. Neither tokenising nor sampling counts.
    """
