"""A conversation and the KV cache that holds it: what is said, answered, taken back, said in other words.

Knows messages and sessions. Must not know terminals, files or commands.

Each answer is generated from the whole conversation; what the cache holds of it is not run again. So a turn costs its
own tokens, and what was taken back costs nothing: the cache goes back to where the old and the new conversation part. A
model without a chat template continues one text, of which the messages are the pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lilims.core.errors import ContextOverflowError, UsageError

from .spelling import respelled

if TYPE_CHECKING:
    from lilims.runtime import Generation, Model, Session, Token
    from lilims.runtime.generation.prompt import Prompt
    from lilims.runtime.statistics import Statistics

__all__ = ["Conversation", "Message"]

Message = dict[str, Any]
"""`role` (system, user, assistant) and `content`; an answer's `reasoning_content` where the model reasoned."""

_NO_TOKEN = -1  # lilims.runtime.generation.events.NO_TOKEN, without importing the runtime
_FULL = "/reset begins anew; `--context-policy sinks` or `shift` goes on in a full context"
_NO_SPACE_BEFORE = frozenset(".,;:!?)]}'\"’”…")


class Conversation:
    """What was said so far, and the state that holds it.

    Args:
        model: answers.
        options: makes the arguments of `Model.generate` for one answer.
        chats: whether the model answers messages; else it continues their text.
        policy: what happens when the context is full.
        system: the system message.

    Attributes:
        messages: what was said, the system message first.
        session: the KV cache.
        generation: the answer that is being given, or was given last.
    """

    def __init__(
        self,
        model: Model,
        options: Callable[[], Mapping[str, Any]],
        *,
        chats: bool,
        policy: str = "error",
        system: str | None = None,
    ) -> None:
        self.model = model
        self.chats = chats
        self.policy = policy
        self._system: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self.messages: list[Message] = list(self._system)
        self.session: Session = model.session(policy)
        self.generation: Generation | None = None
        self._options = options
        self._again = 0  # how often the last question was answered before

    @property
    def full(self) -> bool:
        """Whether the context has no room for another token."""
        return self.session.room == 0

    @property
    def statistics(self) -> Statistics | None:
        """Figures of the last answer."""
        return None if self.generation is None else self.generation.statistics

    @property
    def question(self) -> str | None:
        """What was asked last."""
        return next((str(one["content"]) for one in reversed(self.messages) if one["role"] == "user"), None)

    def say(self, text: str) -> Iterator[Token]:
        """Says something; the answer as it comes. Both belong to the conversation once the first token has come.

        Raises:
            ContextOverflowError: the conversation does not fit the context any more. It is as it was.
            LilimsError: generating failed.
        """
        self._again = 0
        return self._answer([*self.messages, self._question(self.messages, text)])

    def regenerate(self) -> Iterator[Token]:
        """Answers the last question again, in place of the last answer; with a fixed seed, by the next one.

        Raises:
            UsageError: nothing was asked.
        """
        place = self._last_question("there is no question to answer again")
        self._again += 1
        return self._answer(self.messages[: place + 1])

    def edit(self, text: str) -> Iterator[Token]:
        """Asks something else in place of the last question.

        Raises:
            UsageError: nothing was asked.
        """
        before = self.messages[: self._last_question("there is no question to edit")]
        self._again = 0
        return self._answer([*before, self._question(before, text)])

    def reset(self) -> None:
        """Forgets all but the system message."""
        self.messages = [one for one in self.messages if one["role"] == "system"]
        self.session.reset()
        self._again = 0

    def resume(self, messages: Sequence[Message], session: Session | None) -> None:
        """Goes on where another conversation was; without its session its tokens are run again.

        A system message that this one was made with takes the place of the other's.
        """
        self.messages = [*self._system, *(one for one in messages if not self._system or one["role"] != "system")]
        self.session = session or self.model.session(self.policy)
        self._again = 0

    def _last_question(self, otherwise: str) -> int:
        """Where the last question stands; a `UsageError` that says `otherwise` where there is none."""
        for place in reversed(range(len(self.messages))):
            if self.messages[place]["role"] == "user":
                return place
        raise UsageError(otherwise, hint="say something first")

    def _question(self, before: Sequence[Message], text: str) -> Message:
        """A message. Of a text that goes on, with a space in front unless one side has it, or needs none."""
        told = "" if self.chats else _joined(before)
        parts = bool(told and text) and not (told[-1].isspace() or text[0].isspace() or text[0] in _NO_SPACE_BEFORE)
        return {"role": "user", "content": f" {text}" if parts else text}

    def _answer(self, messages: list[Message]) -> Iterator[Token]:
        """Generates what follows `messages`; these and the answer are the conversation from the first token on."""
        options = dict(self._options())
        if options.get("seed") is not None:
            options["seed"] += self._again
        answer: Message = {"role": "assistant", "content": ""}
        try:
            prompt = self._prompt(messages, options.pop("think", None))
            self.generation = self.model.generate(prompt, session=self.session, **options)
            for token in self.generation:
                if not self.messages or self.messages[-1] is not answer:
                    if token.id == _NO_TOKEN:  # interrupted before anything was said
                        return
                    self.messages = [*messages, answer]
                answer["content"] += token.text
                if token.reasoning:
                    answer["reasoning_content"] = answer.get("reasoning_content", "") + token.reasoning
                yield token
        except ContextOverflowError as exc:
            exc.hint = _FULL
            raise

    def _prompt(self, messages: list[Message], think: bool | None) -> Prompt:
        """The conversation's ids, in the cache's spelling where it has one."""
        prompt = self.model.encode(messages if self.chats else _joined(messages), think=think)
        return replace(prompt, ids=respelled(prompt.ids, self.session.tokens, self.model.tokenizer))


def _joined(messages: Sequence[Message]) -> str:
    return "".join(str(one["content"]) for one in messages)
