"""How far a text has come in a grammar, and what may follow: a `sampling.Constraint` over llguidance's matcher.

Knows the matcher's states. Must not know where its grammar comes from, nor how tokens are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConstraintError

__all__ = ["GrammarConstraint"]


class GrammarConstraint:
    """A text within a grammar; what each method does stands at `sampling.Constraint`. Not for several threads at once.

    Made by `json_schema`, `regex` and `grammar`. If a generation ends for another reason than an end token
    (`max_tokens`, a full context, an interrupt), the text is the beginning of a valid one: `can_stop` says whether it
    is a whole one.
    """

    def __init__(self, matcher: Any, where: str) -> None:
        self._matcher = matcher
        self._where = where
        self._mask: NDArray[np.bool_] | None = None

    @classmethod
    def compile(cls, vocabulary: Any, compiled: str, where: str) -> GrammarConstraint:
        """The beginning of a text.

        Args:
            vocabulary: an `llguidance.LLTokenizer`.
            compiled: a grammar as llguidance writes them.
            where: what the user calls it, for errors.

        Raises:
            ConstraintError: it is invalid or too large, or no text fulfils it.
        """
        from llguidance import LLMatcher

        made = cls(LLMatcher(vocabulary, compiled, log_level=0), where)
        made._check()
        made.allowed()  # a grammar without any text shows here, as do limits
        return made

    def allowed(self) -> NDArray[np.bool_]:
        """Which ids may come next, bool [vocab].

        Raises:
            ConstraintError: the grammar is too complex to go on.
        """
        if self._mask is None:
            packed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
            self._check()
            self._mask = np.unpackbits(packed, bitorder="little").view(np.bool_)
        return self._mask

    def accept(self, token: int) -> None:
        """Goes on by a token.

        Raises:
            ConstraintError: it is not allowed; the constraint stays where it was.
        """
        if not self._matcher.validate_tokens([token]):
            raise ConstraintError(f"token {token} is not allowed here", where=self._where)
        self._mask = None
        self._matcher.consume_token(token)
        self._check()

    def acceptable(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, could come next; nothing is accepted."""
        return int(self._matcher.validate_tokens(list(tokens)))

    def forced(self) -> Sequence[int]:
        """Tokens that are the only way on from here; empty where there are several, or none."""
        return list(self._matcher.compute_ff_tokens())

    @property
    def can_stop(self) -> bool:
        """Whether the text so far is a whole one."""
        return bool(self._matcher.is_accepting())

    @property
    def is_finished(self) -> bool:
        """Whether nothing can follow but the end."""
        return bool(self._matcher.is_stopped())

    def rollback(self, count: int) -> None:
        """Takes back the last `count` tokens.

        Raises:
            ConstraintError: there are not as many.
        """
        if count and not self._matcher.rollback(count):
            raise ConstraintError(f"cannot take back {count} tokens", where=self._where)
        self._mask = None

    def fork(self) -> GrammarConstraint:
        """One that goes on by itself."""
        return GrammarConstraint(self._matcher.deep_copy(), self._where)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConstraintError(_reason(str(self._matcher.get_error())), where=self._where)


def _reason(error: str) -> str:
    """llguidance's message without its excerpts and its state: the first line, and what a parser says below it."""
    first, *rest = error.strip().splitlines() or ["the grammar cannot be followed"]
    return " ".join([_REASONS.get(first, first), *(line for line in rest if line.startswith("error:"))])


_REASONS = {
    "NoExtensionBias": "no text fulfils it",
    "NoExtension": "no text fulfils it",
    "ParserTooComplex": "too complex: too many ways to read the text",
    "LexerTooComplex": "too complex: an expression in it grows too large",
}
"""llguidance's names for why a matcher stopped."""
