"""Speculative decoding: several tokens proposed, all of them checked by one call of `score`.

Knows how proposals are checked so that the text stays the one that the model alone would give. Must not know where they
come from (drafts.py) nor when it pays (pace.py).

A proposed token is compared with what the sampler chooses from the model's own logits at its place: the same one is
accepted, another one takes its place and ends the check. So every token is chosen as without speculation, by the
same random numbers: greedy or sampled, the text is the same, up to the rounding by which `score` and `decode` differ.
This is rejection sampling for a proposal without a distribution: it is accepted with the probability that the model
gives it.

A proposal that was drawn from a distribution q (a draft model's) is accepted with probability min(1, p(x) / q(x));
where it is not, a token is drawn from max(0, p - q), scaled to 1. The text then follows p exactly too (Leviathan et al.
2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318), but by other random numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import UsageError

from ..sampling import Choice, Sampler
from ..session import Session
from .drafts import Draft, PromptLookup, Proposal, Shares
from .pace import Pace, Reach

__all__ = ["Speculator", "verify"]

Logits = NDArray[np.floating[Any]]


class Speculator:
    """Steps of a generation that may give several tokens each.

    Args:
        draft: where proposals come from; the text itself unless given.
        most: tokens of a proposal, at the most. Where chunks are padded a proposal has as many as it can have, as what
            fills a chunk of `score` costs nothing more; so one less than that chunk is best. Elsewhere it is as long as
            the last ones were accepted, unless a constraint forces it.
        always: check every proposal, whether it pays or not.
        clock: gives seconds.

    Attributes:
        pace: means, and the speed-up so far.
    """

    def __init__(
        self,
        draft: Draft | None = None,
        *,
        most: int = 15,
        always: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if most < 1:
            raise UsageError(f"a proposal has at least 1 token, not {most}")
        self.pace = Pace()
        self._reach = Reach(most)
        self._draft = draft or PromptLookup()
        self._most = most
        self._always = always
        self._clock = clock

    @property
    def speedup(self) -> float | None:
        """How many times faster than by plain steps alone, as far as their mean tells; None without one."""
        return self.pace.speedup

    def step(self, session: Session, sampler: Sampler, token: int) -> tuple[Sequence[Choice], int]:
        """Runs `token`, and behind it what is proposed where that pays.

        Args:
            session: holds the text before `token`; afterwards also `token` and all choices but the last.

        Returns:
            the choices that follow, at least one, and how many tokens were proposed.

        Raises:
            ContextOverflowError, UsageError, ExecutionError, ConstraintError: as the session and the sampler; the
                session then holds no token that was not chosen.
        """
        begun = self._clock()
        wanted = min(self._most, session.undoable - 1)
        if wanted > 0 and (self._always or self.pace.pays()):
            guessed = wanted if session.padded else min(wanted, self._reach.length)
            proposal = self.propose([*session.tokens, token], sampler, wanted, guessed)
            if proposal.ids:
                choices = verify(session, sampler, proposal, token)
                self.pace.checked(len(choices), self._clock() - begun)
                self._reach.checked(len(proposal.ids), len(choices) - 1)
                return choices, len(proposal.ids)
        choice = sampler.choose(session.append([token]))
        self.pace.stepped(self._clock() - begun)
        return [choice], 0

    def propose(self, ids: Sequence[int], sampler: Sampler, most: int, guessed: int) -> Proposal:
        """What a constraint forces behind `ids`, at most `most`; else `guessed` of the draft, as far as allowed."""
        constraint = sampler.constraint
        if constraint is None:
            return self._draft.propose(ids, guessed)
        forced = list(constraint.forced())[:most]
        if forced:
            return Proposal(forced)
        proposal = self._draft.propose(ids, guessed)
        return proposal.first(constraint.acceptable(proposal.ids))


def verify(session: Session, sampler: Sampler, proposal: Proposal, token: int) -> list[Choice]:
    """Runs `token` and a proposal, and chooses until the model differs from it.

    Returns:
        choices, at least one and at most one more than proposed: all but the last were proposed. The session holds
        `token` and all choices but the last.

    Raises: as `Speculator.step`.
    """
    before, choices = session.position, list[Choice]()
    try:
        rows = np.concatenate(list(session.score([token, *proposal.ids])))
        for place, logits in enumerate(rows):
            proposed = proposal.ids[place] if place < len(proposal.ids) else None
            shares = None if proposal.shares is None or proposed is None else proposal.shares[place]
            choices.append(_choose(sampler, logits, proposed, shares))
            if choices[-1].id != proposed or sampler.finished:
                break
        return choices
    finally:  # also on an error: what was not chosen must not stay
        session.rewind(max(session.position - before - len(choices), 0))


def _choose(sampler: Sampler, logits: Logits, proposed: int | None, shares: Shares | None) -> Choice:
    if proposed is None or shares is None or sampler.parameters.temperature == 0:
        return sampler.choose(logits)
    tokens, wanted = sampler.distribution(logits)
    drafted = _at(shares, tokens)
    place = int(np.searchsorted(tokens, proposed))
    known = place < len(tokens) and tokens[place] == proposed
    if known and sampler.uniform() * drafted[place] < wanted[place]:
        return sampler.accept(proposed, logits)
    rest = np.maximum(wanted - drafted, 0)
    return sampler.accept(int(tokens[sampler.draw(rest if rest.any() else wanted)]), logits)


def _at(shares: Shares, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probabilities of `tokens`, 0 where there are none."""
    ids, odds = shares
    places = np.minimum(np.searchsorted(ids, tokens), len(ids) - 1)
    return np.where(ids[places] == tokens, odds[places], 0.0)
