"""Several measurements as one figure.

Knows statistics. Must not know what was measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Summary", "percentiles", "summarise"]


@dataclass(frozen=True)
class Summary:
    """Values in the order in which they were measured, and what they come to.

    Attributes:
        sd: standard deviation of the sample (n - 1); 0 of a single value.
    """

    mean: float
    sd: float
    median: float
    values: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return {**asdict(self), "values": list(self.values)}


def summarise(values: Sequence[float]) -> Summary:
    """Mean, standard deviation and median of at least one value.

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("no values")
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return Summary(statistics.fmean(values), spread, statistics.median(values), tuple(values))


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The 50th, 90th and 99th percentile by nearest rank, and the largest value."""
    from lilims.runtime.generation.profile import percentile

    ordered = sorted(values)
    return {f"p{share}": percentile(ordered, share / 100) for share in (50, 90, 99)} | {"max": ordered[-1]}
