"""Names in pages that do not exist: modules and what they export, commands and their options.

Knows how a page writes them: `lilims.runtime.load` in code, `lilims convert --quantize int8` in code and in shell
examples. Must not know any command or module by name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .command_line import variants_of
from .markdown import Page, Problem, pages
from .public import packages, resolve

if TYPE_CHECKING:
    import click

__all__ = ["check_names"]

_DOTTED = re.compile(r"\blilims(?:\.\w+)+")


def check_names(folder: Path) -> list[Problem]:
    """Every module, exported name, command and option that a folder's pages name and that does not exist.

    Raises:
        StorageError: there is no such folder.
    """
    return sorted(problem for page in pages(folder) for problem in [*_names(page), *_commands(page)])


def _names(page: Page) -> Iterator[Problem]:
    known = set(packages())
    snippets = page.code + [(f.line, f.code) for f in page.fences if f.language == "python"]
    for line, code in snippets:
        for dotted in _DOTTED.findall(code):
            ours = ".".join(dotted.split(".")[:2]) in known and f"{dotted}/" not in code
            if ours and not resolve(dotted):
                yield Problem(page.path, line, f"{dotted} does not exist")


def _commands(page: Page) -> Iterator[Problem]:
    lines = page.code + [
        (fence.line + 1 + number, line)
        for fence in page.fences
        if fence.language == "sh"
        for number, line in enumerate(fence.code.splitlines())
    ]
    for line, code in lines:
        for call in re.split(r"&&|\|\||[|;]", code):
            if call.strip().startswith("lilims ") and "…" not in code:  # which stands for anything
                message = _wrong(call)
                if message:
                    yield Problem(page.path, line, message)


def _wrong(call: str) -> str | None:
    """What a call of `lilims` names that does not exist; None if all exists, or if it is no call (`lilims …`)."""
    import click

    from lilims.core.cli import lilims

    try:
        words = shlex.split(call, comments=True)[1:]
    except ValueError:
        return None  # a message of the program, not a call
    command: click.Command = lilims
    context = click.Context(lilims, info_name="lilims")
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        if not re.fullmatch(r"[a-z][a-z-]*", words[0]):
            return None  # a placeholder
        found = command.get_command(context, words[0])
        if found is None:
            # A group may have a default (`lilims bench MODEL`): then the word is an argument.
            default = _default(command)
            if default is None:
                return f"there is no command `{context.command_path} {words[0]}`"
            command = default
            break
        context = click.Context(found, info_name=words.pop(0), parent=context)
        command = found
    options = {name for parameter in _parameters(command) for name in (*parameter.opts, *parameter.secondary_opts)}
    used = [word.split("=")[0] for word in words if re.match(r"--[a-z]", word)]
    unknown = [word for word in used if word not in options | {"--help", "--version"}]
    return f"`{context.command_path}` has no option {unknown[0]}" if unknown else None


def _default(group: click.Group) -> click.Command | None:
    """The command that a group takes where none of its own is named, if it says so."""
    import click

    name = getattr(group, "default_command", None)
    return group.get_command(click.Context(group), name) if name else None


def _parameters(command: click.Command) -> list[click.Parameter]:
    import click

    default = _default(command) if isinstance(command, click.Group) else None
    more = [default] if default else list(variants_of(command).values())
    return command.params + [parameter for other in more for parameter in other.params]
