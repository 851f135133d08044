"""What is measured, and how a model is loaded for it.

Knows the options and their bounds. Must not know how anything is measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lilims.core.errors import ContextOverflowError, UsageError

__all__ = ["Workload"]


@dataclass(frozen=True)
class Workload:
    """What one model does while it is measured.

    Attributes:
        prompt: tokens of the prompt that is prefilled.
        tokens: tokens that are decoded one by one.
        depth: tokens that are in the cache before both.
        repetitions: how often each is measured, after one time that does not count.
        cold: how many processes are started to measure a start; 0 leaves it out.
        threads, executor, precision, compute_units: as `lilims.runtime.load` takes them.

    Raises:
        UsageError: a number is out of range.
    """

    prompt: int = 512
    tokens: int = 128
    depth: int = 0
    repetitions: int = 5
    cold: int = 3
    threads: int | None = None
    executor: str = "auto"
    precision: str = "fast"
    compute_units: str | None = None

    def __post_init__(self) -> None:
        least = {"prompt": 1, "tokens": 1, "depth": 0, "repetitions": 1, "cold": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UsageError(f"{name} must be at least {bound}, not {getattr(self, name)}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be at least 1, not {self.threads}")

    @property
    def rows(self) -> int:
        """Tokens of the cache that it takes; a warm first token is chosen behind the prompt alone."""
        return self.depth + max(self.prompt, self.tokens)

    def check_room(self, context: int, where: str) -> None:
        """Refuses what does not fit a model's context.

        Raises:
            ContextOverflowError: with the tokens that would.
        """
        if self.rows > context:
            raise ContextOverflowError(
                f"{self.depth} tokens of depth and {max(self.prompt, self.tokens)} behind them, "
                f"the context holds {context}",
                where=where,
                hint=f"take -p and -n of at most {max(context - self.depth, 0)}, or a smaller --depth",
            )

    def loading(self) -> dict[str, Any]:
        """Arguments of `lilims.runtime.load`."""
        return {name: getattr(self, name) for name in ("threads", "executor", "precision", "compute_units")}

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)
