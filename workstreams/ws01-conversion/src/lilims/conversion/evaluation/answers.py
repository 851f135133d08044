"""What a task asks of a model: how likely a continuation is, how likely a text, and what it would write itself.

Knows a model, its tokenizer and sessions. Must not know tasks, nor the package that brings them (harness.py does). The
meaning of each figure is lm-evaluation-harness' own, of its `HFLM`: what is cut, what stands before an empty context,
how windows of a long text follow each other.

An answer does not depend on the questions before it: a context that was the last question's too is not run again, as is
usual where one question has several choices, and anything else begins on an empty state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lilims.core.errors import ExecutionError, TokenizerError, UsageError

from .metrics import score

if TYPE_CHECKING:
    from lilims.runtime import Model, Session

__all__ = ["Answer", "Answers", "rolling_windows"]


@dataclass(frozen=True)
class Answer:
    """A continuation.

    Attributes:
        logprob: sum of ln p over its tokens, nats.
        greedy: whether greedy decoding would write it.
    """

    logprob: float
    greedy: bool


class Answers:
    """The answers of one model, one question at a time."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._session: Session | None = None
        self._known: list[int] | None = None  # the last question's context, which the session begins with
        self._tokenizer = model.tokenizer

    @property
    def context(self) -> int:
        """The most tokens that the model sees at once."""
        return self._model.context

    @property
    def end_id(self) -> int:
        """The id that ends a text.

        Raises:
            TokenizerError: the model has none.
        """
        ends = [*self._tokenizer.eos_ids, *sorted(self._model.stop_ids)]
        if not ends:
            raise TokenizerError("no token of it ends a text, which tasks need", where=self._model.folder)
        return ends[0]

    @property
    def begin_id(self) -> int:
        """The id that stands before a text without a context: BOS, or else the one that ends a text."""
        return self.end_id if self._tokenizer.bos_id is None else self._tokenizer.bos_id

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The ids of a text; special tokens that it spells out are read as such.

        Args:
            special: add what the tokenizer puts around a text, such as BOS.
        """
        return self._tokenizer.encode(text, special, parse_special=True)

    def continuation(self, context: Sequence[int], tokens: Sequence[int]) -> Answer:
        """How likely `tokens` are behind `context`, of which the beginning is cut where the two are too long.

        Raises:
            UsageError: one of the two is empty, or the continuation is longer than the model's context.
            ExecutionError: a logit is not finite.
        """
        if not context or not tokens:
            raise UsageError("a continuation needs tokens, and at least one token before them")
        if len(tokens) > self.context:
            raise UsageError(
                f"a continuation of {len(tokens)} tokens does not fit the context of {self.context}",
                hint="convert with a larger --context",
            )
        inputs = [*context, *tokens][-self.context - 1 : -1]
        known = len(inputs) - len(tokens)  # tokens before the last one of the context
        session = self._behind(inputs[:known])
        rows = np.concatenate(list(session.score(inputs[known:])))
        if not np.isfinite(rows).all():
            raise ExecutionError(
                "the logits are not finite",
                hint="in fp16 a residual stream may overflow: convert with --fp16-scale auto",
            )
        greedy = bool((rows.argmax(axis=1) == np.asarray(tokens)).all())
        return Answer(-float(score(rows, tokens).nll.sum()), greedy)

    def text(self, tokens: Sequence[int]) -> float:
        """Sum of ln p over a text of any length, in windows as long as the context, nats."""
        windows = rolling_windows(tokens, self.begin_id, self.context)
        return float(sum(self.continuation(*window).logprob for window in windows))

    def written(self, prompt: Sequence[int], *, until: Sequence[str] = (), max_tokens: int = 256) -> str:
        """What greedy decoding writes behind a prompt, up to the first string of `until` or an end of text.

        Of a prompt that leaves no room for `max_tokens` the beginning is cut.

        Raises:
            UsageError: there is no room for the prompt at all.
        """
        room = self.context - max_tokens
        if room < 1 or not prompt:
            raise UsageError(
                f"{max_tokens} tokens are to be written, and the context is {self.context}"
                if prompt else "an empty prompt has nothing to go on from",
                hint="convert with a larger --context",
            )  # fmt: skip
        stops = [one for one in until if one]
        generation = self._model.generate(
            list(prompt[-room:]), session=self._empty(), max_tokens=max_tokens, stop=stops, temperature=0.0
        )
        text = self._tokenizer.decode([token.id for token in generation])  # by itself, as transformers decodes it
        for one in stops:
            text = text.split(one, 1)[0]
        return text

    def _behind(self, known: Sequence[int]) -> Session:
        """The session, holding exactly these tokens: as the last question left it, or begun anew."""
        if (
            self._known != known
        ):  # a longer beginning in common is not made use of: cut otherwise, it may round otherwise
            session = self._empty()
            if known:
                session.append(known)
            self._known = list(known)
        session = self._opened()
        session.rewind(session.position - len(known))
        return session

    def _empty(self) -> Session:
        self._known = None
        session = self._opened()
        session.reset()
        return session

    def _opened(self) -> Session:
        self._session = self._session or self._model.session()
        return self._session


def rolling_windows(tokens: Sequence[int], first: int, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """Pairs of context and continuation that predict each token of a text once, with as much context as fits.

    The first window stands behind `first`; each that follows predicts the next `size` tokens behind one token, and the
    last fills what it does not predict with context: lm_eval.utils.get_rolling_token_windows with context_len 1, and
    make_disjoint_window.
    """
    text = list(tokens)
    for start in range(0, len(text), size):
        end = min(start + size, len(text))
        if start == 0:
            yield [first], text[:end]
        else:
            yield text[end - size - 1 : start], text[start:end]
