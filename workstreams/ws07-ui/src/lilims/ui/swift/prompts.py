"""A chat template as a few pieces of text around the contents of messages, for programs without Jinja.

Knows conversations of instructions, questions and answers by turns. Must not know templates' language: the model's own
template is rendered with contents that mark their places, and cut there.

    [first | system.before INSTRUCTIONS system.after] QUESTION answer ANSWER next QUESTION … QUESTION generate

What comes out is compared with the template on longer conversations: one that looks further than at its neighbours has
no such pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lilims.core.errors import LilimsError

if TYPE_CHECKING:
    from lilims.tokenizer import Tokenizer

__all__ = ["Around", "ChatPieces", "chat_pieces"]

Piece = int | str
_NOW = datetime(2024, 7, 26)  # of templates that tell the model a date: Llama 3's own default
_WORDS = ("Qaz", "Wsx", "Edc", "Rfv", "Tgb", "Yhn", "Ujm", "Ikol")


@dataclass(frozen=True)
class Around:
    """What stands before and behind instructions."""

    before: list[Piece]
    after: list[Piece]


@dataclass(frozen=True)
class ChatPieces:
    """Pieces, each text or the id of a special token. `trims`: contents lose the spaces at their ends."""

    first: list[Piece]
    system: Around | None
    answer: list[Piece]
    next: list[Piece]
    generate: list[Piece]
    trims: bool

    def compose(self, messages: Sequence[Mapping[str, str]]) -> list[Piece]:
        """A conversation that ends with a question, as Starter.swift puts it together."""
        found, rest = list(self.first), list(messages)

        def content(message: Mapping[str, str]) -> str:
            return message["content"].strip() if self.trims else message["content"]

        if rest[0]["role"] == "system":
            assert self.system is not None
            found = [*self.system.before, content(rest.pop(0)), *self.system.after]
        for i, message in enumerate(rest):
            last = i == len(rest) - 1
            behind = self.next if message["role"] == "assistant" else self.generate if last else self.answer
            found += [content(message), *behind]
        return found


def chat_pieces(tokenizer: Tokenizer) -> ChatPieces | str:
    """The pieces of a model's chat template, or why there are none."""
    if tokenizer.chat_template is None:
        return "the model has no chat template"
    try:
        pieces = _derived(tokenizer)
        odd = _differs(tokenizer, pieces)
    except LilimsError as exc:
        return f"its chat template refuses a plain conversation: {exc.message}"
    except ValueError as exc:
        return str(exc)
    return pieces if odd is None else f"its chat template treats {odd} in a way of its own"


def _turns(count: int, *, system: bool, words: Sequence[str] = _WORDS) -> list[dict[str, str]]:
    """Messages with contents of their own; the last one is a question."""
    roles = ["system"] if system else []
    roles += [("user", "assistant")[i % 2] for i in range(count)]
    return [{"role": role, "content": words[i % len(words)]} for i, role in enumerate(roles)]


def _rendered(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]]) -> str:
    template = tokenizer.chat_template
    assert template is not None
    return template.render(messages, now=_NOW)


def _cut(text: str, contents: Sequence[str]) -> list[str]:
    """The text between contents.

    Raises:
        ValueError: one is not there, or twice.
    """
    parts: list[str] = []
    for content in contents:
        before, found, text = text.partition(content)
        if not found or content in text:
            raise ValueError("its chat template does not print every message once")
        parts.append(before)
    return [*parts, text]


def _derived(tokenizer: Tokenizer) -> ChatPieces:
    messages = _turns(3, system=False)
    contents = [message["content"] for message in messages]
    first, answer, behind, generate = _cut(_rendered(tokenizer, messages), contents)
    try:
        told = _turns(3, system=True)
        before, after, *_ = _cut(_rendered(tokenizer, told), [message["content"] for message in told])
        system = Around(_pieces(tokenizer, before), _pieces(tokenizer, after))
    except (LilimsError, ValueError):  # Gemma's first template refuses instructions
        system = None
    spaced = [{**message, "content": f" {message['content']} "} for message in messages]
    trims = f" {contents[0]} " not in _rendered(tokenizer, spaced)
    around = (_pieces(tokenizer, part) for part in (first, answer, behind, generate))
    opening, answers, nexts, generates = around
    return ChatPieces(opening, system, answers, nexts, generates, trims)


def _pieces(tokenizer: Tokenizer, text: str) -> list[Piece]:
    """Text of the template, its special tokens as ids."""
    from lilims.tokenizer.parts import alternatives

    special = tokenizer.parts.special
    pattern = alternatives(special)
    parts: list[Any] = pattern.split(text) if pattern else [text]
    return [special[part] if i % 2 else part for i, part in enumerate(parts) if part]


def _differs(tokenizer: Tokenizer, pieces: ChatPieces) -> str | None:
    """Which of some conversations do not give the ids of the template; None where all do."""
    words = (" One ", "Two words.", "A line\nand another", "4", " five ", "<|six|> [/INST] </s>", "siete ñ 7", "e")
    asked = {"one question": (1, False), "a short conversation": (3, False), "a long conversation": (7, False)}
    told = {"instructions": (1, True), "instructions and a conversation": (5, True)} if pieces.system else {}
    for name, (count, system) in {**asked, **told}.items():
        messages = _turns(count, system=system, words=words)
        ids = tokenizer.parts.encode_around(pieces.compose(messages))
        if ids != tokenizer.encode_chat(messages, now=_NOW):
            return name
    return None
