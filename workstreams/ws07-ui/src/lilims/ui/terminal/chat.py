"""The loop of `lilims chat`: reads, answers, obeys commands, saves.

Knows how the parts of this folder are put together. Must not know options of the command line.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lilims.core.console import console
from lilims.core.errors import LilimsError, UsageError

from . import conversation_file as files
from .conversation import Conversation
from .screen import Screen, figures
from .slash import help_text, parse

if TYPE_CHECKING:
    from lilims.runtime import Token

    from .editor import Editor

__all__ = ["Chat"]

_END = "Ctrl-C again ends; /quit does too"


class Chat:
    """A conversation that somebody holds.

    Args:
        start: makes a conversation with the model of a name; None is the one that the command line means.
        name: the model's name, as it was given.
        screen: where answers go.
        file: where the conversation is kept after each turn.
        stats: tell the figures of each answer.

    Attributes:
        turns: figures of all answers, for --json.
    """

    def __init__(
        self,
        start: Callable[[str | None], Conversation],
        name: str | None,
        screen: Screen,
        *,
        file: Path | None = None,
        stats: bool = False,
    ) -> None:
        self._start = start
        self._name = name
        self._screen = screen
        self._file = file
        self._stats = stats
        self._editing: str | None = None
        self._stoppable = False  # through a pipe Ctrl-C ends the program
        self.conversation = start(name)
        self.turns: list[dict[str, Any]] = []
        self._commands: dict[str, Callable[[str], bool]] = {
            "help": self._help,
            "regen": self._regen,
            "edit": self._edit,
            "reset": self._reset,
            "save": self._save,
            "load": self._load,
            "stats": self._figures,
            "model": self._model,
            "quit": self._quit,
        }

    def resume(self, path: Path) -> None:
        """Goes on with a saved conversation.

        Raises:
            InputError: the file is none.
        """
        saved = files.read(path)
        problem = files.restore(self.conversation, saved, path)
        self._screen.note(f"{len(saved.messages)} messages from {path}")
        if problem:
            self._screen.note(f"the cache is not used: {problem}")

    def greet(self) -> None:
        """What somebody at a terminal has to know."""
        model = self.conversation.model
        self._screen.note(f"{model.manifest.name} · {model.executor} · context {model.context} tokens · /help")
        if not self.conversation.chats:
            self._screen.note("This model has no chat template: it continues your text. Enter alone lets it go on.")

    def talk(self, editor: Editor) -> None:
        """Answers what is typed until somebody ends it. Errors are told, and the conversation goes on."""
        self._stoppable, stopped = True, False
        while True:
            try:
                line = editor.read(self._editing or "")
            except EOFError:
                break
            except KeyboardInterrupt:
                if stopped:
                    break
                stopped, self._editing = True, None
                self._screen.note(_END)
                continue
            stopped = False
            try:
                if not self.handle(line):
                    break
            except LilimsError as error:
                console.error(error)
            except KeyboardInterrupt:  # twice in an answer
                self._screen.note("stopped")

    def pipe(self, lines: Iterable[str]) -> None:
        """Answers each line. An error ends it."""
        for line in lines:
            if line.strip() and not self.handle(line):
                break

    def handle(self, line: str) -> bool:
        """Answers a message or obeys a command; False ends the chat."""
        if self._editing is not None:
            self._editing = None
            return self._say(self.conversation.edit(line)) if line.strip() else True
        typed = parse(line)
        if typed.command is not None:
            return self._commands[typed.command](typed.text)
        if not typed.text.strip() and (self.conversation.chats or not self.conversation.messages):
            return True
        return self._say(self.conversation.say(typed.text if typed.text.strip() else ""))

    def ask(self, text: str) -> None:
        """Says something, whatever it looks like, and shows the answer."""
        self._say(self.conversation.say(text))

    def close(self) -> None:
        """Saves what --session asked for."""
        if self._file is not None:
            files.write(self.conversation, self._file, self._name)
            files.write_cache(self.conversation, self._file)

    def status(self) -> str:
        """Model and context in a line."""
        session = self.conversation.session
        share = min(1.0, session.position / session.capacity)
        return (
            f"{self.conversation.model.manifest.name} · {session.position} of {session.capacity} tokens ({share:.0%})"
        )

    def _say(self, tokens: Iterator[Token]) -> bool:
        with _stoppable(self.conversation) if self._stoppable else contextlib.nullcontext():
            self._screen.answer(tokens)
        found = self.conversation.statistics
        if found is None:
            return True
        self.turns.append(found.as_dict())
        if found.finish_reason == "interrupt":
            self._screen.note("stopped" if found.generated_tokens else "stopped; the question is taken back")
        if self.conversation.full:
            self._screen.note(
                f"The context of {self.conversation.session.capacity} tokens is full: /reset begins anew, "
                "`--context-policy sinks` or `shift` would go on."
            )
        if self._stats:
            self._screen.tell(figures(found))
        if self._file is not None:
            files.write(self.conversation, self._file, self._name)
        return True

    def _help(self, _argument: str) -> bool:
        self._screen.tell(help_text())
        return True

    def _regen(self, _argument: str) -> bool:
        return self._say(self.conversation.regenerate())

    def _edit(self, argument: str) -> bool:
        if argument:
            return self._say(self.conversation.edit(argument))
        question = self.conversation.question
        if question is None:
            raise UsageError("there is no question to edit", hint="say something first")
        self._editing = question.strip()
        return True

    def _reset(self, _argument: str) -> bool:
        self.conversation.reset()
        self._screen.note("The conversation begins anew.")
        return True

    def _save(self, argument: str) -> bool:
        path = Path(argument).expanduser() if argument else self._file
        if path is None:
            raise UsageError("/save needs a file", hint="/save FILE, or start with --session FILE")
        files.write(self.conversation, path, self._name)
        files.write_cache(self.conversation, path)
        self._screen.note(f"{len(self.conversation.messages)} messages saved to {path}")
        return True

    def _load(self, argument: str) -> bool:
        if not argument:
            raise UsageError("/load needs a file", hint="/load FILE")
        self.resume(Path(argument).expanduser())
        return True

    def _figures(self, _argument: str) -> bool:
        found = self.conversation.statistics
        answered = sum(one["role"] == "assistant" for one in self.conversation.messages)
        lines = [f"{len(self.conversation.messages)} messages, {answered} answers", self.status()]
        self._screen.tell("\n".join([*lines, *([f"last answer: {figures(found)}"] if found is not None else [])]))
        return True

    def _model(self, argument: str) -> bool:
        if not argument:
            from lilims.core.locate import installed

            names = ", ".join(installed()) or "none"
            self._screen.tell(f"{self.conversation.model.manifest.name}; installed: {names}")
            return True
        messages = self.conversation.messages
        other = self._start(argument)
        other.resume(messages, None)
        self.conversation, self._name = other, argument
        self.greet()
        return True

    def _quit(self, _argument: str) -> bool:
        return False


@contextlib.contextmanager
def _stoppable(conversation: Conversation) -> Iterator[None]:
    """Inside the block Ctrl-C ends the answer before its next step; a second one ends whatever runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def stop(number: int, frame: Any) -> None:
        nonlocal asked
        if asked or conversation.generation is None:
            signal.default_int_handler(number, frame)
        asked = True
        if conversation.generation is not None:
            conversation.generation.interrupt()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
