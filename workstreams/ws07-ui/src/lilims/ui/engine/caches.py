"""The KV caches of one model: few sessions, which requests share by their longest common beginnings.

Knows tokens, a budget, and which session is best continued. Must not know requests or text.

A cache stays after its request. The next request takes the idle cache that holds the longest beginning of its prompt;
where that would throw away much of what another conversation needs, or the cache is in use, it takes a copy of those
rows (a fork) while there is room for one more. Rows that no one has asked for longest go first.

Rows of a prompt are computed in slices that begin at multiples of one number, whoever computes them and whatever else
runs; rows of an answer one at a time. Both may differ in their last bits on some machines. So `exact` says how far a
cache's rows are slices of a prompt, and a request that has to be repeatable (`take(exact=True)`) goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lilims.runtime.session import Session, common_prefix

__all__ = ["Cache", "Caches"]

_WORTH = 16  # tokens: a shorter common beginning is run again sooner than copied


@dataclass(eq=False)
class Cache:
    """A session and what is noted about it.

    Attributes:
        exact: how many of its first rows are whole slices of a prompt.
        busy: a request uses it.
        used: a count that grows with each use.
    """

    session: Session
    exact: int = 0
    busy: bool = False
    used: int = 0

    def reusable(self, prompt: Sequence[int], *, exact: bool, slice_tokens: int) -> int:
        """How many of the prompt's tokens need not be run again; at least the last one is."""
        same = common_prefix(self.session.tokens, prompt[:-1])
        return min(same, self.exact) // slice_tokens * slice_tokens if exact else same


class Caches:
    """At most `most` sessions. For one thread: the scheduler's.

    Args:
        make: gives an empty session.
        most: how many sessions there may be, at least 1.
        slice_tokens: see above.
    """

    def __init__(self, make: Callable[[], Session], most: int, slice_tokens: int) -> None:
        self.most = max(1, most)
        self.slice_tokens = slice_tokens
        self.forks = 0
        self._make = make
        self._caches: list[Cache] = []
        self._clock = 0

    def __len__(self) -> int:
        return len(self._caches)

    @property
    def free(self) -> bool:
        """Whether a request can have a cache now."""
        return sum(cache.busy for cache in self._caches) < self.most

    def take(self, prompt: Sequence[int], *, exact: bool) -> Cache:
        """The cache for a prompt, holding `session.position` of its tokens; it is the taker's until `give_back`.

        Raises:
            ExecutionError: rows cannot be copied, or there is no memory for a cache.
        """
        assert self.free, "the scheduler asks first"
        best = max(self._caches, key=lambda one: (self._reusable(one, prompt, exact), not one.busy), default=None)
        kept = 0 if best is None else self._reusable(best, prompt, exact)
        if best is not None and not best.busy and self._expendable(best, kept):
            chosen = best
        else:
            best, kept = (best, kept) if kept >= _WORTH else (None, 0)
            chosen = self._another(best)
        self._clock += 1
        chosen.busy, chosen.used = True, self._clock
        if (surplus := chosen.session.position - kept) > 0:
            chosen.session.rewind(surplus)
        chosen.exact = min(chosen.exact, kept)
        return chosen

    def give_back(self, cache: Cache) -> None:
        """The cache is idle again, and keeps what it holds."""
        self._clock += 1
        cache.busy, cache.used = False, self._clock

    def drop(self, cache: Cache) -> None:
        """The cache is gone: its session has failed."""
        self._caches.remove(cache)

    def _reusable(self, cache: Cache, prompt: Sequence[int], exact: bool) -> int:
        return cache.reusable(prompt, exact=exact, slice_tokens=self.slice_tokens)

    def _expendable(self, cache: Cache, kept: int) -> bool:
        """Whether going back to `kept` tokens loses less than it keeps."""
        return cache.session.position <= 2 * kept

    def _room(self) -> bool:
        return len(self._caches) < self.most

    def _oldest(self) -> Cache:
        return min((cache for cache in self._caches if not cache.busy), key=lambda one: one.used)

    def _another(self, source: Cache | None) -> Cache:
        """A new cache, or the idle one that was used least lately, that holds what `source` does."""
        if self._room():
            cache = Cache(self._make())
            self._caches.append(cache)
        else:
            cache = self._oldest()
        if source is None:
            cache.session.reset()
            cache.exact = 0
        elif source is not cache:
            cache.session.restore(source.session.snapshot())
            cache.exact = source.exact
            self.forks += 1
        return cache
