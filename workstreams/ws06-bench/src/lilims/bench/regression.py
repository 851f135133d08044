"""Whether figures became worse by more than noise explains: paired, robust, one-sided.

Knows statistics. Must not know how figures are measured or stored.

Repetition i of one run is paired with repetition i of the other, as both went through the same order of work: what
warms up or throttles does so in both. The loss of a pair is ln(how many times worse). Its pseudomedian (Hodges–Lehmann:
the median of all means of two) is the estimate, and the lower end of its one-sided 95 % interval by Wilcoxon's signed
ranks what is sure against one run; of five pairs that is the best of them. Figures with one value a run (peak memory,
energy) have no interval: there the values count.

Runs differ by more than their repetitions do. So what is sure is that against the baseline's run that it looks best
against: a regression is surely worse, by more than the threshold, than every one of the latest runs; and it is one only
if a second measurement says the same (`confirmed`). tests/test_gate.py has the rate of false alarms on recorded noise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement
from typing import Any

__all__ = ["METRICS", "RUNS", "Change", "changes", "confirmed", "lower_bound", "pseudomedian", "values_of"]

RUNS = 5
"""The latest runs of a baseline that are compared with."""
_LEVEL = 0.05

METRICS: dict[str, tuple[tuple[str, ...], bool]] = {
    "prefill, tokens/s": (("prefill", "tokens_per_second", "values"), True),
    "decode, tokens/s": (("decode", "tokens_per_second", "values"), True),
    "first token, cold": (("first_token", "cold_seconds", "values"), False),
    "first token, warm": (("first_token", "warm_seconds", "values"), False),
    "peak RSS": (("memory", "peak_rss"), False),
    "energy of a token": (("energy", "decode_millijoules_per_token"), False),
}
"""Name → where it stands in a model's figures, and whether more is better."""


@dataclass(frozen=True)
class Change:
    """One figure against the baseline; 1.1 is ten per cent worse.

    Attributes:
        worse: how many times worse it is, as estimated.
        sure: how many times worse than every run of the baseline it is at least.
        regressed: whether `sure` is above the threshold.
    """

    metric: str
    baseline: float
    candidate: float
    runs: int
    worse: float
    sure: float
    regressed: bool

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def changes(baseline: Sequence[dict[str, Any]], candidate: dict[str, Any], *, threshold: float = 0.1) -> list[Change]:
    """Every figure that both have, of one model.

    Args:
        baseline: its figures in earlier runs, oldest first; the latest `RUNS` count.
        threshold: what share worse is allowed.
    """
    found = []
    for metric, (path, more_is_better) in METRICS.items():
        own = values_of(candidate, path)
        runs = [values for one in baseline[-RUNS:] if (values := values_of(one, path))]
        if not own or not runs:
            continue
        losses = [_losses(values, own, more_is_better) for values in runs]
        worse = math.exp(statistics.median(pseudomedian(loss) for loss in losses))
        sure = math.exp(min(lower_bound(loss) for loss in losses))
        middle = statistics.median(statistics.median(values) for values in runs)
        regressed = sure > 1 + threshold
        found.append(Change(metric, middle, statistics.median(own), len(runs), worse, sure, regressed))
    return found


def confirmed(first: Sequence[Change], second: Sequence[Change]) -> list[Change]:
    """What two measurements of one candidate agree on: of each figure the better one, which regressed if both did."""
    again = {one.metric: one for one in second}
    return [min(one, again.get(one.metric, one), key=lambda change: (change.regressed, change.sure)) for one in first]


def values_of(figures: dict[str, Any], path: tuple[str, ...]) -> list[float]:
    """What stands there as positive numbers; empty where it was not measured."""
    value: Any = figures
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    listed = value if isinstance(value, list) else [value]
    return [float(one) for one in listed if isinstance(one, (int, float)) and 0 < one < math.inf]


def _losses(baseline: Sequence[float], candidate: Sequence[float], more_is_better: bool) -> list[float]:
    """ln(times worse) of each pair; what only one of them has is left out."""
    pairs = zip(baseline, candidate, strict=False)
    return [math.log(old / new) if more_is_better else math.log(new / old) for old, new in pairs]


def pseudomedian(values: Sequence[float]) -> float:
    """Hodges–Lehmann: the median of the means of all pairs, each value with itself included."""
    return statistics.median(_means(values))


def lower_bound(values: Sequence[float]) -> float:
    """The lower end of the pseudomedian's one-sided 95 % interval; of fewer than five the lowest value.

    The k-th smallest mean of two, with k - 1 the largest w for which P(W ≤ w) ≤ 5 %; W: Wilcoxon's signed-rank sum.
    """
    means = sorted(_means(values))
    counts = [1] + [0] * len(means)  # subsets of the ranks by their sum
    for rank in range(1, len(values) + 1):
        for total in range(len(means), rank - 1, -1):
            counts[total] += counts[total - rank]
    most, seen, order = _LEVEL * 2 ** len(values), 0, 0
    for total, count in enumerate(counts):
        seen += count
        if seen > most:
            break
        order = total
    return means[order]


def _means(values: Sequence[float]) -> list[float]:
    return [(one + other) / 2 for one, other in combinations_with_replacement(values, 2)]
