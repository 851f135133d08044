"""What happens when the context is full.

Knows the policies' names and sizes. Must not know rows, masks or calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from lilims.core.errors import UsageError

__all__ = ["ContextPolicy", "PolicyName"]

PolicyName = Literal["error", "rolling", "sinks", "shift"]
_DEFAULT_KEEP: dict[str, int] = {"error": 0, "rolling": 0, "sinks": 4, "shift": 4}


@dataclass(frozen=True, slots=True)
class ContextPolicy:
    """One of four ways to go on, or not to, when the state's rows are full.

        error    tokens that do not fit are refused
        rolling  every token sees the newest C tokens: the oldest rows are overwritten
        sinks    as rolling, but the first `keep` tokens stay visible (StreamingLLM, arXiv:2309.17453)
        shift    the state is emptied, and the first `keep` tokens and the newest half are run again

    Attributes:
        kind: the policy.
        keep: how many of the first tokens are never dropped; 0 with error and rolling.
    """

    kind: PolicyName = "error"
    keep: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(PolicyName):
            raise UsageError(
                f"{self.kind!r} is not a context policy", hint=f"choose one of {', '.join(get_args(PolicyName))}"
            )
        if (
            self.keep < 0
            or (self.keep and self.kind in ("error", "rolling"))
            or (not self.keep and self.kind == "sinks")
        ):
            raise UsageError(f"the context policy {self.kind!r} cannot keep {self.keep} tokens")

    @classmethod
    def named(cls, name: str) -> ContextPolicy:
        """The policy of that name with its default `keep`.

        Raises:
            UsageError: there is none.
        """
        return cls(name, _DEFAULT_KEEP.get(name, 0))  # type: ignore[arg-type]  # checked above

    @classmethod
    def error(cls) -> ContextPolicy:
        """Tokens that do not fit are refused."""
        return cls("error")

    @classmethod
    def rolling(cls) -> ContextPolicy:
        """Every token sees the newest C tokens."""
        return cls("rolling")

    @classmethod
    def sinks(cls, keep: int = 4) -> ContextPolicy:
        """As rolling, but the first `keep` tokens stay visible."""
        return cls("sinks", keep)

    @classmethod
    def shift(cls, keep: int = 4) -> ContextPolicy:
        """The state is emptied when it is full; the first `keep` tokens and the newest half are run again."""
        return cls("shift", keep)
