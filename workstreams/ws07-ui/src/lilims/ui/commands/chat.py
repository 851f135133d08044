"""Chat with a model in the terminal, or through a pipe.

Knows options, and who is at the other end. Must not know how a conversation goes (terminal/).

stdout carries answers and nothing else. At a terminal lines are edited and commands begin with a slash; from a pipe
each line is a turn, and each answer ends with a newline.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import console
from lilims.core.errors import StorageError, UsageError
from lilims.models.commands.run_options import (
    answers,
    check_options,
    decoded,
    drafter_of,
    generation_options,
    load_model,
    run_options,
)

if TYPE_CHECKING:
    from ..terminal.conversation import Conversation

__all__ = ["command"]

_EPILOG = (
    "Examples: lilims chat   ·   lilims chat tiny --temp 0.8 --session talk.json   ·   lilims chat < questions.txt"
)


@cli.command("chat", epilog=_EPILOG)
@click.argument("positional", metavar="[MODEL]", required=False)
@click.option("-m", "--model", metavar="MODEL", help="The same as MODEL.")
@click.option(
    "-f", "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Say a file's text first."
)
@click.option(
    "--session",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Go on with the conversation in FILE, and keep it there, its KV cache in FILE.kv.",
)
@click.option("--history/--no-history", default=True, show_default=True, help="Keep what is typed for the next time.")
@click.option("--stats", is_flag=True, help="Print tokens and speed of each answer to stderr.")
@run_options
def command(
    positional: str | None,
    model: str | None,
    file: Path | None,
    session: Path | None,
    history: bool,
    stats: bool,
    **options: Any,
) -> None:
    """Chat with MODEL: a model folder, an installed name or, left out, the built-in story model.

    Ctrl-C stops an answer; twice at the prompt, or /quit, ends. /help lists the commands. From a pipe each line is a
    turn.
    """
    from ..terminal.chat import Chat
    from ..terminal.screen import Screen

    if positional and model:
        raise UsageError(f"the model is named twice: {positional!r} and -m {model!r}")
    interactive = sys.stdin is not None and sys.stdin.isatty()
    _check(options, interactive)
    if session is not None and not session.absolute().parent.is_dir():
        raise StorageError("no such folder", where=session.parent, hint="make it, or name another --session FILE")
    resumed = session is not None and session.is_file()
    name = positional or model or (_named_in(session) if session is not None and resumed else None)
    chat = Chat(lambda other: _conversation(other, options), name, Screen(keep=console.json), file=session, stats=stats)
    if session is not None and resumed:
        chat.resume(session)
    try:
        if interactive:
            chat.greet()
        if file is not None:
            chat.ask(decoded(file.read_bytes(), str(file)))
        if interactive:
            from ..terminal.editor import Editor
            from ..terminal.slash import COMMANDS

            chat.talk(Editor([f"/{word}" for word in COMMANDS], chat.status, history=history))
        else:
            chat.pipe(_lines())
    finally:
        chat.close()
    if console.json:
        conversation = chat.conversation
        value = {"model": conversation.model.manifest.name, "executor": conversation.model.executor}
        console.result("chat", {**value, "messages": conversation.messages, "turns": chat.turns})


def _check(options: dict[str, Any], interactive: bool) -> None:
    """Refuses what cannot be, before a model is loaded."""
    check_options(options)
    if options["logprobs"] is not None:
        raise UsageError("--logprobs is for `lilims run --json`", hint="leave it out")
    if console.json and interactive:
        raise UsageError("--json is for conversations from a pipe", hint="lilims chat --json < questions.txt")


def _conversation(name: str | None, options: dict[str, Any]) -> Conversation:
    from ..terminal.conversation import Conversation

    model = load_model(name, options)
    chats, drafter = answers(model, options), drafter_of(model, options)
    return Conversation(
        model,
        lambda: generation_options(model, options, drafter),
        chats=chats,
        policy=options["context_policy"],
        system=options["system"],
    )


def _named_in(session: Path) -> str | None:
    """The model that a saved conversation was held with, if its name was."""
    from ..terminal.conversation_file import read

    return read(session).model


def _lines() -> Iterator[str]:
    """The lines that another program writes, as they come."""
    if sys.stdin is None:
        return
    for number, line in enumerate(sys.stdin.buffer, 1):
        yield decoded(line, f"stdin, line {number}").removesuffix("\r")
