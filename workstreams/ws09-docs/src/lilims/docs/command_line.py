"""The command line as a page: every command, its arguments, options, defaults and exit codes, and every setting.

Knows click's commands and `lilims.core.settings`. Must not know any command by name: what is installed is on the page.
The page does not depend on a terminal or a platform.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click

__all__ = ["command_line_page"]

HEAD = """\
# Command line

Written by `python tools/cli_reference.py`; do not edit. What each command prints with `--help`, on one page.

stdout has a command's data and nothing else; messages go to stderr. Every command takes `--json` (a versioned object
on stdout), `-q` and `-v`. Progress is drawn on a terminal only, and `NO_COLOR` is honoured. A model is a name, a folder
or a package, positional or with `-m`.

| exit code | |
|---:|---|
| 0 | done |
| 1 | a known failure: one line says what and where, a second what to do ([troubleshooting.md](troubleshooting.md)) |
| 2 | the command line is wrong |
| 130 | interrupted |

Where a command has more to say with its exit code, its section does.
"""
SETTINGS = """\
## Settings

In the order in which they count: an option of the command, the environment, the table `[lilims]` of `config.toml` (in
the platform's folder of configurations, or where `LILIMS_CONFIG` says), the default.

| in the environment | in config.toml | default | |
|---|---|---|---|
"""


def command_line_page() -> str:
    """The whole page, as Markdown."""
    import click

    from lilims.core.cli import lilims

    context = click.Context(lilims, info_name="lilims")
    names = lilims.list_commands(context)
    parts = [HEAD, "| command | |\n|---|---|\n" + "".join(_line(context, name) for name in names)]
    for name in names:
        command = lilims.get_command(context, name)
        assert command is not None
        parts += _section(command, name, context, 2)
    return "\n".join([*parts, _settings()])


def variants_of(command: click.Command) -> dict[str, click.Command]:
    """What a command becomes, by the words that make it so (`export`, with `--to NAME`); mostly nothing."""
    found = getattr(command, "variants", None)
    return found() if callable(found) else {}


def _line(parent: click.Context, name: str) -> str:
    command = parent.command.get_command(parent, name)  # type: ignore[attr-defined]
    path = f"{parent.command_path} {name}"
    return f"| [`{path}`](#{path.replace(' ', '-')}) | {_cell(command.get_short_help_str(limit=200))} |\n"


def _section(command: click.Command, name: str, parent: click.Context, depth: int) -> Iterator[str]:
    """A command and its subcommands, as pieces of the page."""
    import click

    context = click.Context(command, info_name=name, parent=parent, terminal_width=100, max_content_width=100)
    yield f"{'#' * depth} {context.command_path}\n"
    yield _text(command.help or "") + "\n"
    yield "```text\n" + _usage(context) + "\n```\n"
    default = getattr(command, "default_command", None)
    shown = command.get_command(context, default) if default else None  # type: ignore[attr-defined]
    if rows := [*_rows(command, context), *(_rows(shown, context) if shown else ())]:
        yield "| argument or option | what | default |\n|---|---|---|\n" + "".join(rows)
    if isinstance(command, click.Group):
        names = [n for n in command.list_commands(context) if n != default]
        yield "| subcommand | |\n|---|---|\n" + "".join(_line(context, n) for n in names)
    if command.epilog:
        yield _text(command.epilog) + "\n"
    if isinstance(command, click.Group):
        for inner in names:
            found = command.get_command(context, inner)
            assert found is not None
            yield from _section(found, inner, context, depth + 1)
    for words, variant in variants_of(command).items():
        yield from _section(variant, f"{name} {words}", parent, depth + 1)


def _usage(context: click.Context) -> str:
    formatter = context.make_formatter()
    context.command.format_usage(context, formatter)
    return re.sub(r"^Usage: ", "", inspect.cleandoc(formatter.getvalue())).replace("\n       ", "\n")


def _rows(command: click.Command, context: click.Context) -> Iterator[str]:
    """A line for each argument and option that is not hidden; those that all commands take stand at the page's top."""
    import click

    for parameter in command.params:
        if isinstance(parameter, click.Option):
            record = parameter.get_help_record(context)
            common = {"--json", "--quiet", "--verbose"} & set(parameter.opts)
            if record is None or (common and parameter.help in _COMMON):
                continue
            names, text = record[0].replace(" RANGE", ""), (parameter.help or "") + _range(parameter)
        else:
            names, text = parameter.make_metavar(context), getattr(parameter, "help", None) or ""
        said = re.search(r"\s*\[default: ([^\]]*)\]", text)
        default = said[1] if said else _default(parameter)
        what = text.replace(said[0], "") if said else text
        yield f"| `{_cell(names, code=True)}` | {_cell(what)} | {_cell(default)} |\n"


def _range(option: click.Option) -> str:
    """The numbers that an option takes, if not all."""
    low, high = (getattr(option.type, name, None) for name in ("min", "max"))
    if low is None and high is None:
        return ""
    return (
        f" {low} to {high}." if None not in (low, high) else f" {low} or more." if high is None else f" At most {high}."
    )


_COMMON = ("Log more.", "Print data and errors only.", "Print a versioned JSON object on stdout.")


def _default(parameter: click.Parameter) -> str:
    """A default that is the same everywhere; "required" where there has to be a value."""
    import click

    if parameter.required:
        return "required"
    value: Any = parameter.default
    if isinstance(parameter, click.Argument) or callable(value) or value in (None, (), False, ""):
        return ""
    if "UNSET" in repr(value) or (isinstance(parameter, click.Option) and parameter.count):
        return ""
    return f"`{value}`"


def _settings() -> str:
    """Every setting with its default and what the source says of it."""
    from dataclasses import fields

    from lilims.core.settings import Settings

    source = inspect.getsource(Settings)
    text = SETTINGS
    for field in fields(Settings):
        said = re.search(rf'^    {field.name}: [^\n]*\n    """(.*?)"""', source, re.M | re.S)
        assert said is not None, field.name
        default = f"`{field.default}`" if field.default != "" else ""
        text += f"| `LILIMS_{field.name.upper()}` | `{field.name}` | {default} | {_cell(said[1])} |\n"
    return text


def _text(help_text: str) -> str:
    """Help as Markdown: what click keeps as it stands (`\\b`) becomes a block."""
    parts = []
    for part in inspect.cleandoc(help_text).split("\n\n"):
        if part.startswith("\b"):
            parts.append("```text\n" + part.lstrip("\b\n") + "\n```")
        else:
            parts.append(_prose(part))
    return "\n\n".join(parts)


def _prose(text: str) -> str:
    """Angle brackets, stars and underscores mean themselves, outside of code."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([<>*\\])", r"\\\1", p) for p in pieces)


def _cell(text: str, *, code: bool = False) -> str:
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if code else _prose(flat).replace("\\\\|", "\\|")
