"""A language model of a few tokens whose next-token distribution is written down, behind the interface of a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lilims.runtime.sampling import Sampler
from lilims.runtime.session import Session

__all__ = ["ToySession", "logits_behind", "plain"]

CHUNK = 4


@cache
def logits_behind(last: tuple[int, ...], vocab: int, model: int) -> NDArray[np.float32]:
    """What follows the last two tokens: fixed noise, float32 [vocab]."""
    seed = [model, vocab, *last]
    return (np.random.Generator(np.random.PCG64(seed)).standard_normal(vocab) * 1.5).astype(np.float32)


class ToySession:
    """Counts calls; refuses what a session refuses."""

    def __init__(self, vocab: int = 5, model: int = 0, capacity: int = 10_000) -> None:
        self.vocab, self.model, self.capacity = vocab, model, capacity
        self.tokens: list[int] = []
        self.appended = self.scored = 0
        self.fail_at: int | None = None
        self.padded = True

    @property
    def position(self) -> int:
        return len(self.tokens)

    @property
    def room(self) -> int | None:
        return self.capacity - self.position

    @property
    def undoable(self) -> int:
        return self.capacity - self.position

    def append(self, ids: Sequence[int]) -> NDArray[np.float32]:
        self.appended += 1
        for token in ids:
            logits = self._push(token)
        return logits

    def score(self, ids: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        self.scored += 1
        for start in range(0, len(ids), CHUNK):
            yield np.stack([self._push(token) for token in ids[start : start + CHUNK]])

    def advance(self, ids: Sequence[int]) -> NDArray[np.float32]:
        same = 0
        while same < min(len(self.tokens), len(ids) - 1) and self.tokens[same] == ids[same]:
            same += 1
        del self.tokens[same:]
        return self.append(ids[same:])

    def rewind(self, count: int) -> None:
        assert 0 <= count <= len(self.tokens)
        del self.tokens[len(self.tokens) - count :]

    def _push(self, token: int) -> NDArray[np.float32]:
        if self.position == self.fail_at:
            raise RuntimeError("the executor failed")
        assert self.position < self.capacity
        self.tokens.append(token)
        return logits_behind(tuple(self.tokens[-2:]), self.vocab, self.model)


def as_session(session: ToySession) -> Session:
    return cast("Session", session)


def plain(prompt: Sequence[int], count: int, sampler: Sampler, **toy: Any) -> list[int]:
    """`count` tokens, one by one."""
    session = ToySession(**toy)
    sampler.observe(prompt)
    found = [sampler.choose(session.append(prompt)).id]
    while len(found) < count and not sampler.finished:
        found.append(sampler.choose(session.append(found[-1:])).id)
    return found
