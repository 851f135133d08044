"""One choice of a chat answer: tokens in, deltas out; and the whole message that they add up to.

Knows deltas, calls and logprobs. Must not know how they are sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Literal, Protocol

from lilims.runtime import Token
from lilims.runtime.generation.events import NO_TOKEN
from lilims.tokenizer import ToolCall

from ..engine import Job
from ..engine.vocabulary import Vocabulary
from . import responses as r
from .tools import Piece

__all__ = ["Choice", "Parser", "usage_of"]


class Parser(Protocol):
    """Finds calls in text: `tools.FoundCalls`, `tools.ForcedCall`."""

    def push(self, text: str) -> list[Piece]:
        """What the text settles."""

    def finish(self) -> list[Piece]:
        """What is left."""


class Choice:
    """What comes of one generation.

    Args:
        index: its number in the answer.
        job: the generation.
        parser: finds calls; None where there are no tools.
        logprobs: whether they are told.
        named: the call was asked for by its name: then the answer just stops, as with OpenAI.
        single: the answer ends with its first call, whatever the model would write behind it.

    Attributes:
        reasoning_tokens: tokens of reasoning so far.
        finish_reason: why it ended; None before.
    """

    def __init__(
        self,
        index: int,
        job: Job,
        *,
        parser: Parser | None = None,
        logprobs: bool = False,
        named: bool = False,
        single: bool = False,
    ) -> None:
        self.index = index
        self.job = job
        self.reasoning_tokens = 0
        self.finish_reason: Literal["stop", "length", "tool_calls"] | None = None
        self._parser = parser
        self._logprobs = logprobs
        self._named = named
        self._single = single
        self._calls: list[r.ToolCallOut] = []
        self._pending: list[r.Logprob] = []
        self._told: list[r.Logprob] = []
        self._content = ""
        self._reasoning = ""

    def push(self, token: Token) -> list[tuple[r.Delta, r.Logprobs | None]]:
        """What a token adds: deltas, each with the logprobs of the tokens that came since the one before it."""
        if self._logprobs and token.logprob is not None and token.id not in self.job.vocabulary.stop_ids:
            self._pending.append(logprob_of(token, self.job.vocabulary))
        deltas: list[r.Delta] = []
        if token.reasoning:
            self.reasoning_tokens += token.id != NO_TOKEN
            self._reasoning += token.reasoning
            deltas.append(r.Delta(reasoning_content=token.reasoning))
        deltas += self._deltas(self._pieces(token.text, ended=token.finish_reason is not None))
        if token.finish_reason:
            self.finish_reason = self._reason(token.finish_reason)
        return [(delta, self._take_logprobs() if i == 0 else None) for i, delta in enumerate(deltas)]

    @property
    def message(self) -> r.Reply:
        """The whole message. Where there are calls, text that is only white space is none."""
        content: str | None = self._content
        if self._calls and not self._content.strip():
            content = None
        return r.Reply(content=content, reasoning_content=self._reasoning or None, tool_calls=self._calls or None)

    @property
    def logprobs(self) -> r.Logprobs | None:
        """Those of the whole message."""
        return r.Logprobs(content=[*self._told, *self._pending]) if self._logprobs else None

    def last_logprobs(self) -> r.Logprobs | None:
        """Those that belong to no delta."""
        return self._take_logprobs() if self._pending else None

    def _pieces(self, text: str, *, ended: bool) -> list[Piece]:
        if self._parser is None:
            return [text] if text else []
        found = self._parser.push(text) if text else []
        return [*found, *self._parser.finish()] if ended else found

    def _deltas(self, pieces: Iterable[Piece]) -> list[r.Delta]:
        deltas = []
        for piece in pieces:
            if self._single and self._calls and not isinstance(piece, tuple):
                break
            if isinstance(piece, str):
                self._content += piece
                deltas.append(r.Delta(content=piece))
            elif isinstance(piece, ToolCall):
                deltas += [self._begin(piece.name, piece.id), self._argue(_json(piece))]
                if self._single:
                    self.job.cancel()
            elif piece[0] == "name":
                deltas.append(self._begin(piece[1], None))
            else:
                deltas.append(self._argue(piece[1]))
        return deltas

    def _begin(self, name: str, known: str | None) -> r.Delta:
        call = r.ToolCallOut(
            id=known or f"call_{secrets.token_hex(12)}", function=r.FunctionOut(name=name, arguments="")
        )
        self._calls.append(call)
        function = r.FunctionDelta(name=name, arguments="")
        index = len(self._calls) - 1
        return r.Delta(tool_calls=[r.ToolCallDelta(index=index, id=call.id, type="function", function=function)])

    def _argue(self, text: str) -> r.Delta:
        self._calls[-1].function.arguments += text
        function = r.FunctionDelta(arguments=text)
        return r.Delta(tool_calls=[r.ToolCallDelta(index=len(self._calls) - 1, function=function)])

    def _reason(self, reason: str) -> Literal["stop", "length", "tool_calls"]:
        if reason == "length":
            return "length"
        return "tool_calls" if self._calls and not self._named else "stop"

    def _take_logprobs(self) -> r.Logprobs | None:
        if not self._logprobs:
            return None
        taken, self._pending = self._pending, []
        self._told += taken
        return r.Logprobs(content=taken)


def logprob_of(token: Token, vocabulary: Vocabulary) -> r.Logprob:
    """The logprobs of a token as the API writes them."""
    assert token.logprob is not None
    top = [_top(other, logprob, vocabulary) for other, logprob in token.top_logprobs]
    return r.Logprob(**_top(token.id, token.logprob, vocabulary).model_dump(), top_logprobs=top)


def usage_of(choices: Iterable[Choice]) -> r.Usage:
    """Tokens of an answer: the prompt counts once, however many choices there are."""
    chosen = list(choices)
    figures = [choice.job.statistics for choice in chosen]
    written = sum(one.generated_tokens for one in figures)
    thought = sum(choice.reasoning_tokens for choice in chosen)
    return usage(figures[0].prompt_tokens, written, figures[0].reused_tokens, thought)


def usage(prompt: int, written: int, cached: int, thought: int = 0) -> r.Usage:
    """The figures as the API writes them."""
    return r.Usage(
        prompt_tokens=prompt,
        completion_tokens=written,
        total_tokens=prompt + written,
        prompt_tokens_details=r.CachedTokens(cached_tokens=cached),
        completion_tokens_details=r.ReasoningTokens(reasoning_tokens=thought),
    )


def _top(token: int, logprob: float, vocabulary: Vocabulary) -> r.TopLogprob:
    data = vocabulary.bytes_of(token)
    return r.TopLogprob(token=data.decode("utf-8", "replace"), logprob=max(logprob, -9999.0), bytes=list(data))


def _json(call: ToolCall) -> str:
    import json

    return json.dumps(call.arguments, ensure_ascii=False)
