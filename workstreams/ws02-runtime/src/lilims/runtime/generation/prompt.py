"""From what a user gives to the ids that a generation begins with, and what makes text of those that follow.

Knows the tokenizer's side of a model: BOS, chat template, ids that end a text, reasoning. Must not know sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lilims.core.errors import TokenizerError, UsageError
from lilims.core.manifest import Manifest

from .output import Detokenizer, NoText, Splitter

if TYPE_CHECKING:
    from lilims.tokenizer import Tokenizer

__all__ = ["Message", "Prompt", "Texts"]

_TAIL = 64  # tokens at a prompt's end among which an opening tag is looked for

CALL_TOKENS = ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "<|python_tag|>", "<tool_call>", "</tool_call>")
"""Tokens that mark calls of tools: where there are tools, they are part of the text, for its parser."""

Message = Mapping[str, Any]
"""One message of a chat: `role` and `content`, perhaps `tool_calls`, as chat templates take them."""


@dataclass(frozen=True)
class Prompt:
    """What a generation begins with.

    Attributes:
        ids: at least one.
        decoder: has seen them.
        splitter: in chats with reasoning models, what keeps the reasoning apart.
        stops: strings that end an answer, of a chat template without tokens for that.
        is_chat: whether it was made of messages.
    """

    ids: list[int]
    decoder: Detokenizer
    splitter: Splitter | None = None
    stops: Sequence[str] = ()
    is_chat: bool = False


class Texts:
    """The tokenizer of a model folder, as generation needs it."""

    def __init__(self, folder: Path, manifest: Manifest, tokenizer: Tokenizer | None) -> None:
        self._folder = folder
        self._manifest = manifest
        self._tokenizer = tokenizer

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            TokenizerError: there is none.
        """
        if self._tokenizer is None:
            hint = "convert it again with the tokenizer's files in the checkpoint; `generate` in Python takes ids too"
            raise TokenizerError("the model has no tokenizer", where=self._folder, hint=hint)
        return self._tokenizer

    @property
    def chats(self) -> bool:
        """Whether there is a chat template."""
        return self._tokenizer is not None and self._tokenizer.chat_template is not None

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Every id that ends a text: the manifest's (from generation_config.json), the tokenizer's, ends of turns."""
        own = self._tokenizer
        return frozenset((*self._manifest.tokens.eos, *(() if own is None else (*own.eos_ids, *own.end_of_turn_ids))))

    def prompt(
        self,
        prompt: str | Sequence[int] | Sequence[Message],
        *,
        think: bool | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """What a generation begins with.

        Args:
            template: further variables of the chat template.

        Raises:
            UsageError: it is empty, or an id is outside the vocabulary.
            TokenizerError: text without a tokenizer; a chat template that fails.
        """
        if isinstance(prompt, str):
            ids = self._text(prompt)
        elif len(prompt) and isinstance(prompt[0], Mapping):
            return self._chat(cast("Sequence[Message]", prompt), think, tools, template or {})
        else:
            ids = [int(token) for token in cast("Sequence[int]", prompt)]
        return Prompt(self._checked(ids), self._decoder(ids))

    def _checked(self, ids: list[int]) -> list[int]:
        if not ids:
            raise UsageError("the prompt is empty and the model has no token to begin a text", hint="give a prompt")
        size = self._manifest.architecture.vocab_size
        for token in ids:
            if not 0 <= token < size:
                raise UsageError(f"token {token} is outside the vocabulary of {size}")
        return ids

    def _text(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text)
        bos = self.tokenizer.bos_id if self._manifest.tokens.bos is None else self._manifest.tokens.bos
        return [bos] if not ids and bos is not None else ids  # nothing to continue: begin a text

    def _chat(
        self,
        messages: Sequence[Message],
        think: bool | None,
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> Prompt:
        from lilims.tokenizer import ReasoningSplitter, ReasoningTags

        tokenizer = self.tokenizer
        template = tokenizer.chat_template or tokenizer.default_chat_template
        options = {**variables, **({} if think is None else {"enable_thinking": think})}
        ids = self._checked(tokenizer.encode_chat(messages, tools=tools, **options))
        tags = ReasoningTags.of(template.source)
        shown = [*([tags.opening, tags.closing] if tags else ()), *(CALL_TOKENS if tools else ())]
        known = {i: tag for tag in shown if (i := tokenizer.token_id(tag)) is not None}
        spelled = {i: tag for i, tag in known.items() if tag not in CALL_TOKENS or not tokenizer.decode([i])}
        decoder = _Spelled(self._decoder(ids), spelled) if spelled else self._decoder(ids)
        if tags is None:
            return Prompt(ids, decoder, stops=template.stops, is_chat=True)
        inside = tags.opened_by(tokenizer.decode(ids[-_TAIL:], skip_special_tokens=False))
        return Prompt(ids, decoder, ReasoningSplitter(tags, inside=inside), template.stops, is_chat=True)

    def _decoder(self, prompt: Sequence[int]) -> Detokenizer:
        """A stream decoder that has seen the prompt: what follows may depend on it (a space, half a character)."""
        if self._tokenizer is None:
            return NoText()
        from lilims.tokenizer import StreamDecoder

        decoder = StreamDecoder(self._tokenizer)
        for token in prompt:
            decoder.push(token)
        return decoder


class _Spelled:
    """A decoder that spells some special tokens, which it would skip: the tags of reasoning, the marks of calls."""

    def __init__(self, decoder: Detokenizer, spelled: Mapping[int, str]) -> None:
        self._decoder = decoder
        self._spelled = spelled

    def push(self, token: int) -> str:
        if token in self._spelled:
            return self._decoder.finish() + self._spelled[token]
        return self._decoder.push(token)

    def finish(self) -> str:
        return self._decoder.finish()
