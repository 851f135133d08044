"""The `lilims` command: finds its subcommands through the entry-point group `lilims.commands`.

Knows options that all commands share, exit codes and how an error ends the program. Must not know any command: a
workstream adds one by an entry point, and its module is imported only when that command is called. The one-line help
of the list comes from the module's docstring, read without importing it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

import click

from . import listeners
from .console import console
from .errors import LilimsError, StorageError, UsageError
from .privacy import hub_off, telemetry_off

__all__ = ["FiniteRange", "command", "group", "lilims", "main", "model_argument", "summary"]

GROUP = "lilims.commands"
owns_process = False  # whether this process runs one command and then ends
F = TypeVar("F", bound=Callable[..., Any])


class _ReaderGone(Exception):
    """The program that reads stdout has gone, as in `lilims run … | head`: not a failure."""


class Commands(click.Group):
    """A group whose commands are entry points."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click would exit with 1
            raise _ReaderGone from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing and found[0]:  # not while a shell completes words
            listeners.start(found[0])
        return found

    def _entries(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._entries())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        entry = self._entries().get(name)
        if entry is None:
            return None
        loaded = entry.load()
        assert isinstance(loaded, click.Command), f"{entry.value} is not a command"
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, summary(entry.module)) for name, entry in sorted(self._entries().items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def summary(module: str) -> str:
    """First line of a module's docstring, without running the module."""
    parts = module.split(".")
    try:
        spec = importlib.util.find_spec(".".join(parts[:2]))  # lilims.<name>: found, not imported
    except (ImportError, ValueError):
        return ""  # an entry point of a package that is gone must not take the list with it
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder).joinpath(*parts[2:]).with_suffix(".py")
        if path.is_file():
            doc = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            return doc.split("\n", 1)[0].split(": ", 1)[-1]
    return ""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lilims-core", prog_name="lilims")
def lilims() -> None:
    """Small language models on Apple devices: convert, check and run Core ML packages, without a Mac too."""


class FiniteRange(click.FloatRange):
    """Numbers in a range. Those of click take NaN into every range, and infinity into one without an end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a number that can be reached.", param, ctx)
        return found


def command(name: str, **settings: Any) -> Callable[[F], click.Command]:
    """A click command with the options that every lilims command takes: --json, -v and -q."""

    def _json(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        console.json = value

    def _quiet(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        console.quiet = value

    def _verbose(ctx: click.Context, _param: click.Parameter, value: int) -> None:
        from . import logs

        logs.setup(value - int(console.quiet))

    def wrap(function: F) -> click.Command:
        options = (
            click.option("-v", "--verbose", count=True, expose_value=False, callback=_verbose, help="Log more."),
            click.option("-q", "--quiet", is_flag=True, expose_value=False, is_eager=True, callback=_quiet,
                         help="Print data and errors only."),
            click.option("--json", "as_json", is_flag=True, expose_value=False, is_eager=True, callback=_json,
                         help="Print a versioned JSON object on stdout."),
        )  # fmt: skip
        decorated: Any = function
        for option in options:
            decorated = option(decorated)
        make: Callable[[Any], click.Command] = click.command(name, **settings)
        return make(decorated)

    return wrap


class _Subcommands(click.Group):
    """Commands in modules that are imported when one is asked for: `NAME` is `name_command` of its module."""

    package = ""
    homes: Mapping[str, str] = {}

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(self.homes)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.homes:
            return None
        home, _, attribute = self.homes[name].partition(":")
        module = importlib.import_module(home if "." in home else f".{home}", self.package)
        found = getattr(module, attribute or name.replace("-", "_") + "_command")
        assert isinstance(found, click.Command)
        return found


def group(name: str, package: str, homes: Mapping[str, str], **settings: Any) -> Callable[[F], click.Group]:
    """A command of subcommands, none of which is imported before it is asked for.

    Args:
        package: in which the modules are, a caller's `__package__`.
        homes: subcommand → module of the package; it is `name_command` there, dashes being underscores. Or
            `a.whole.module:attribute`.
    """
    kind = type("Subcommands", (_Subcommands,), {"package": package, "homes": dict(homes)})
    made: Callable[[F], click.Group] = click.group(name, cls=kind, **settings)
    return made


def model_argument(function: F) -> F:
    """A model, positional or as -m/--model: a name, a model folder or a package. Passed on as `model`."""

    def merge(ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
        positional: str | None = ctx.params.pop("positional_model", None)
        if value and positional:
            raise click.UsageError(f"the model is named twice: {positional!r} and -m {value!r}", ctx)
        if not (value or positional):
            raise click.UsageError("no model: name one, or a folder, or a package", ctx)
        return str(value or positional)

    option = click.option("-m", "--model", "model", metavar="MODEL", callback=merge, help="The same as MODEL.")
    argument = click.argument("positional_model", metavar="[MODEL]", required=False, is_eager=True)
    return argument(option(function))


def main(arguments: list[str] | None = None) -> None:
    """Runs `lilims` and exits: 0 done, 1 a known failure, 2 usage, 130 interrupted."""
    global owns_process
    owns_process = True
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Runs `lilims` with the arguments (default: the process's) and returns the exit code."""
    console.json = console.quiet = False
    telemetry_off()
    hub_off()
    try:
        code = lilims.main(args=arguments, prog_name="lilims", standalone_mode=False)
        return code if isinstance(code, int) else 0  # a number: `ctx.exit(number)`
    except click.ClickException as error:
        console.json = console.json or "--json" in (sys.argv[1:] if arguments is None else arguments)
        if console.json:  # the object; options after the mistake have not been read
            console.error(UsageError(error.format_message()))
        else:
            error.show(file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    except LilimsError as error:
        _failed(error)
        if _debug():
            raise
        console.error(error)
        return error.exit_code
    except _ReaderGone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        _failed(error)
        if not isinstance(error, (OSError, MemoryError)):
            listeners.crashed(error)
        if _debug():
            raise
        import logging

        logging.getLogger("lilims").exception("unexpected error")
        if isinstance(error, (OSError, MemoryError)):
            where = error.filename if isinstance(error, OSError) else None
            known: LilimsError = StorageError(
                getattr(error, "strerror", None) or str(error) or "no memory", where=where
            )
        else:
            known = LilimsError(
                f"unexpected {type(error).__name__}: {error}", hint="LILIMS_DEBUG=1 shows where; please report it"
            )
        console.error(known)
        return 1
    finally:
        listeners.stop()


def _failed(error: Exception) -> None:
    from .events import emit

    emit("command.failed", error_type=type(error).__name__)


def _debug() -> bool:
    from .settings import settings

    try:
        return settings().debug
    except LilimsError:
        return False
