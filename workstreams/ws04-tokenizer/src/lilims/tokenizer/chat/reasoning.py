"""What a model says to itself, apart from what it says.

Knows the tags of model families and how to find them in a stream. Must not know tokens or templates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .tags import partial

__all__ = ["TAGS", "Channel", "ReasoningSplitter", "ReasoningTags"]

Channel = Literal["text", "reasoning"]


@dataclass(frozen=True)
class ReasoningTags:
    """What stands before and behind reasoning."""

    opening: str
    closing: str

    @classmethod
    def of(cls, template: str) -> ReasoningTags | None:
        """Those of `TAGS` that a chat template's source names, or None: then the model does not reason apart."""
        return next((tags for tags in TAGS if tags.closing in template), None)

    def opened_by(self, prompt: str) -> bool:
        """Whether the prompt ends inside of reasoning, as templates that open it themselves leave it."""
        return prompt.rfind(self.opening) > prompt.rfind(self.closing) and prompt.rstrip().endswith(self.opening)


TAGS = (
    ReasoningTags("<think>", "</think>"),  # Qwen3, QwQ, DeepSeek R1 and distillations, SmolLM3, EXAONE 4, Granite 3.3
    ReasoningTags("<thought>", "</thought>"),  # EXAONE Deep
    ReasoningTags("[THINK]", "[/THINK]"),  # Magistral, Ministral 3 Reasoning
    ReasoningTags("<seed:think>", "</seed:think>"),  # Seed-OSS
    ReasoningTags("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning, Command R7B
)
"""Pairs of tags, as the chat templates of those models have them."""


class ReasoningSplitter:
    """Takes an answer in pieces and says for each stretch which channel it belongs to.

    Reasoning is what stands between the tags, where the opening one begins the answer, or the prompt ended with it
    (`inside`). White space beside a tag belongs to neither channel. Reasoning that is not closed ends with the answer.
    Tags that stand later, and other tags, are text.

        splitter = ReasoningSplitter(inside=tags.opened_by(prompt))
        for piece in pieces:
            for channel, text in splitter.push(piece): ...
        for channel, text in splitter.finish(): ...
    """

    def __init__(self, tags: ReasoningTags = TAGS[0], *, inside: bool = False) -> None:
        self._tags = tags
        self._state: Literal["start", "reasoning", "text"] = "reasoning" if inside else "start"
        self._trim = inside  # white space that follows a tag is still to be dropped
        self._held = ""

    def push(self, piece: str) -> list[tuple[Channel, str]]:
        """What `piece` settles: channel and text, perhaps nothing, in order. No text is empty."""
        self._held += piece
        found: list[tuple[Channel, str]] = []
        if self._state == "start":
            self._begin()
        if self._state == "reasoning":
            self._reason(found)
        if self._state == "text":
            self._emit(found, "text", self._held)
            self._held = ""
        return found

    def finish(self) -> list[tuple[Channel, str]]:
        """What is left. The splitter is used up."""
        found: list[tuple[Channel, str]] = []
        self._emit(found, "reasoning" if self._state == "reasoning" else "text", self._held)
        self._held = ""
        self._state = "text"
        return found

    def _emit(self, found: list[tuple[Channel, str]], channel: Channel, text: str) -> None:
        if self._trim:
            text = text.lstrip()
        if text:
            self._trim = False
            found.append((channel, text))

    def _begin(self) -> None:
        """Reasoning if the opening tag comes first, text as soon as that is impossible; else wait."""
        bare = self._held.lstrip()
        if bare.startswith(self._tags.opening):
            self._held = bare[len(self._tags.opening) :]
            self._state, self._trim = "reasoning", True
        elif not self._tags.opening.startswith(bare):
            self._state = "text"

    def _reason(self, found: list[tuple[Channel, str]]) -> None:
        thought, closing, rest = self._held.partition(self._tags.closing)
        if closing:
            self._emit(found, "reasoning", thought.rstrip())
            self._held = rest
            self._state, self._trim = "text", True
            return
        safe = len(self._held) - partial(self._held, [self._tags.closing])
        safe = len(self._held[:safe].rstrip())  # white space waits: the closing tag may follow it
        self._emit(found, "reasoning", self._held[:safe])
        self._held = self._held[safe:]
