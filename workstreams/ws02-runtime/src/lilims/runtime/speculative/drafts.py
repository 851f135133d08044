"""Guesses at what comes next: from the text itself, or from a smaller model.

Knows where guesses come from. Must not know how they are checked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import UsageError

from ..sampling import Sampler, SamplingParameters
from ..sampling.logprobs import log_probabilities
from ..session import Session

__all__ = ["Draft", "ModelDraft", "PromptLookup", "Proposal", "Shares"]

Shares = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Ids, ascending, and their probabilities."""


@dataclass(frozen=True)
class Proposal:
    """Tokens that may come next.

    Attributes:
        ids: the tokens.
        shares: what each was drawn from; None if they were not drawn: then each stands for a distribution of its own.
    """

    ids: Sequence[int] = ()
    shares: Sequence[Shares] | None = None

    def first(self, count: int) -> Proposal:
        """The first tokens of it."""
        return Proposal(self.ids[:count], None if self.shares is None else self.shares[:count])


class Draft(Protocol):
    """Where proposals come from."""

    def propose(self, ids: Sequence[int], count: int) -> Proposal:
        """At most `count` tokens that may follow a text; none where there is no good guess."""


class PromptLookup:
    """What followed the last time when the text ended as it does now.

    Saxena 2023 (prompt lookup decoding). A look-up takes the same time however long the text is: every run of tokens is
    entered once, and the latest place is kept. What would go on behind the end of the text repeats itself.

    Args:
        longest, shortest: how many tokens at the end have to be the same; the longest run that is found counts.
    """

    def __init__(self, longest: int = 4, shortest: int = 2) -> None:
        if not 1 <= shortest <= longest:
            raise UsageError(f"a look-up compares at least 1 token, not from {shortest} to {longest}")
        self._sizes = range(longest, shortest - 1, -1)
        self._ids: list[int] = []
        self._behind: dict[tuple[int, ...], int] = {}

    def propose(self, ids: Sequence[int], count: int) -> Proposal:
        """What followed the longest run of last tokens that the text had before; none if it had none."""
        self._enter(ids)
        for size in self._sizes:
            place = self._behind.get(tuple(ids[-size:])) if size <= len(ids) else None
            if place is not None:
                found = list(ids[place : place + count])
                period = len(ids) - place
                while len(found) < count:
                    found.append(found[len(found) - period])
                return Proposal(found)
        return Proposal()

    def _enter(self, ids: Sequence[int]) -> None:
        """Runs that end before the last token; the one at the end is what is looked for."""
        if list(ids[: len(self._ids)]) != self._ids:
            self._ids, self._behind = [], {}
        for end in range(max(len(self._ids), 1), len(ids)):
            for size in self._sizes:
                if size <= end:
                    self._behind[tuple(ids[end - size : end])] = end
        self._ids = list(ids)


class ModelDraft:
    """What a smaller model of the same vocabulary says.

    Each of its tokens costs a step of that model, so a proposal ends behind a token that the model was not sure of, and
    in any case after a few.

    Args:
        session: of that model; it follows the text by itself, keeping what it holds of it.
        parameters: how the smaller model's tokens are drawn; greedy unless given. With those of the text more
            proposals are accepted.
        confidence: a proposal ends behind a token with a lower probability.
        most: tokens of a proposal.
    """

    def __init__(
        self,
        session: Session,
        parameters: SamplingParameters | None = None,
        *,
        confidence: float = 0.4,
        most: int = 8,
    ) -> None:
        self._session = session
        self._sampler = Sampler(_with_own_numbers(parameters or SamplingParameters()))
        self._confidence = confidence
        self._most = most

    def propose(self, ids: Sequence[int], count: int) -> Proposal:
        """What the smaller model says comes next, greedily, as far as its context reaches."""
        count = min(count, self._most, self._session.capacity - len(ids) + 1)
        if count < 1:
            return Proposal()
        found: list[int] = []
        shares: list[Shares] = []
        logits = self._session.advance(ids)
        while True:
            tokens, odds = self._sampler.distribution(logits)
            found.append(int(tokens[self._sampler.draw(odds)]))
            shares.append((tokens, odds))
            # Behind the token: to leave it out for being unlikely would draw from another distribution than `odds`.
            sure = math.exp(log_probabilities(logits, found[-1], 0)[0]) >= self._confidence
            if len(found) == count or not sure:
                return Proposal(found, shares if self._sampler.parameters.temperature else None)
            logits = self._session.append(found[-1:])


def _with_own_numbers(parameters: SamplingParameters) -> SamplingParameters:
    """Another seed than the text's: what accepts a proposal must not depend on what drew it."""
    return parameters if parameters.seed is None else replace(parameters, seed=parameters.seed + (1 << 64))
