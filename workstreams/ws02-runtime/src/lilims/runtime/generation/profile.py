"""Where the time of a generation went.

Knows statistics and percentiles. Must not know how a generation runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..statistics import Statistics

__all__ = ["DecodeTimes", "Profile", "percentile", "profile_of"]


@dataclass(frozen=True)
class DecodeTimes:
    """Seconds of the steps after the first token: mean, and the 50th, 90th and 99th percentile, and the longest."""

    steps: int
    mean: float
    p50: float
    p90: float
    p99: float
    longest: float


@dataclass(frozen=True)
class Profile:
    """Seconds by phase of one generation, and the bytes that it worked on.

    Attributes:
        tokenize: making ids of the prompt.
        prefill: the prompt's calls.
        first_token: from the call until the first token is chosen.
        decode: one step after the first token; None if there was none.
        sampling: choosing tokens, all of them together.
        detokenize: making text of tokens, all of them together.
        weight_bytes: of the packages' weight files: what a decode step reads.
        state_bytes: of the KV cache, all rows.
        peak_rss: the most bytes of memory this process has held; None where the system does not tell.
    """

    tokenize: float
    prefill: float
    first_token: float
    decode: DecodeTimes | None
    sampling: float
    detokenize: float
    weight_bytes: int
    state_bytes: int
    peak_rss: int | None

    def as_dict(self) -> dict[str, Any]:
        """The figures for `--json`."""
        return asdict(self)


def profile_of(statistics: Statistics, *, weight_bytes: int, state_bytes: int, peak_rss: int | None) -> Profile:
    """The profile of a generation, as far as it has come."""
    return Profile(
        tokenize=statistics.tokenize_seconds,
        prefill=statistics.prefill_seconds,
        first_token=statistics.time_to_first_token,
        decode=_times(statistics.steps),
        sampling=statistics.sampling_seconds,
        detokenize=statistics.detokenize_seconds,
        weight_bytes=weight_bytes,
        state_bytes=state_bytes,
        peak_rss=peak_rss,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the ordered values do not exceed (nearest rank)."""
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def _times(steps: Sequence[float]) -> DecodeTimes | None:
    if not steps:
        return None
    ordered = sorted(steps)
    middle, high, highest = (percentile(ordered, share) for share in (0.5, 0.9, 0.99))
    return DecodeTimes(len(ordered), sum(ordered) / len(ordered), middle, high, highest, ordered[-1])
