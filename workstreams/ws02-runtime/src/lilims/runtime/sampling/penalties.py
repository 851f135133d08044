"""What was said before changes the logits: bias and penalties.

Knows formulas over the logits of few tokens. Must not know where these tokens come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import UsageError

from .candidates import Values

__all__ = ["History", "add_bias", "penalise_frequency", "penalise_presence", "penalise_repetition"]


class History:
    """Which tokens a text holds, and how often each stands in its answer. A step costs the same however long it is."""

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        self._ids = np.zeros(64, np.int64)
        self._counts = np.zeros(64, np.int64)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Every token of prompt and answer once."""
        return self._ids[: len(self._slots)]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each of `ids` stands in the answer."""
        return self._counts[: len(self._slots)]

    def observe(self, prompt: Iterable[int]) -> None:
        """Tokens of the prompt."""
        for token in prompt:
            self._slot(token)

    def record(self, token: int) -> None:
        """One more token of the answer."""
        slot = self._slot(token)  # may put a longer array in the place of `_counts`
        self._counts[slot] += 1

    def copy(self) -> History:
        """One that goes on by itself."""
        other = History()
        other._slots, other._ids, other._counts = self._slots.copy(), self._ids.copy(), self._counts.copy()
        return other

    def _slot(self, token: int) -> int:
        slot = self._slots.setdefault(token, len(self._slots))
        if slot == len(self._ids):
            self._ids = np.concatenate((self._ids, np.zeros_like(self._ids)))
            self._counts = np.concatenate((self._counts, np.zeros_like(self._counts)))
        self._ids[slot] = token
        return slot


def add_bias(logits: Values, bias: Mapping[int, float]) -> None:
    """logit[token] += bias[token], in place, as OpenAI's `logit_bias` and transformers' SequenceBiasLogitsProcessor.

    Raises:
        UsageError: a token is outside the vocabulary.
    """
    for token, value in bias.items():
        if token >= len(logits):
            raise UsageError(f"logit-bias names token {token}, the vocabulary has {len(logits)}")
        logits[token] += value


def penalise_repetition(logits: Values, history: History, penalty: float) -> None:
    """Tokens of prompt and answer: a positive logit / penalty, a negative one · penalty; in place.

    Keskar et al. 2019 (arXiv:1909.05858) in the form of transformers' RepetitionPenaltyLogitsProcessor.
    """
    seen = logits[history.ids].astype(np.float64)
    logits[history.ids] = np.where(seen < 0, seen * penalty, seen / penalty)


def penalise_frequency(logits: Values, history: History, penalty: float) -> None:
    """logit[j] -= count[j] · penalty, in place; counts are of the answer, as OpenAI's API defines them."""
    logits[history.ids] -= history.counts * penalty


def penalise_presence(logits: Values, history: History, penalty: float) -> None:
    """logit[j] -= penalty where count[j] > 0, in place; counts are of the answer, as OpenAI's API defines them."""
    logits[history.ids] -= (history.counts > 0) * penalty
