"""Which group gets more bits next.

Knows numbers. Must not know what they stand for. Losses of groups are taken to add up, so that the fewest bits for any
loss lie on a path that begins with the coarsest choices and takes, one after another, the steps that gain most for a
bit (Everett 1963; in quantisation Shoham and Gersho 1988).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Choice", "path"]


@dataclass(frozen=True)
class Choice:
    """What a group may take: its bits, and what is lost by it."""

    bits: float
    loss: float


def path(groups: Sequence[Sequence[Choice]]) -> list[tuple[int, ...]]:
    """For each step the index of each group's choice. The first step takes the fewest bits, the last loses least."""
    steps: list[tuple[float, int, int, int]] = []
    start = []
    for number, choices in enumerate(groups):
        corners = _corners(choices)
        start.append(corners[0])
        for before, after in pairwise(corners):
            old, new = choices[before], choices[after]
            steps.append(((new.loss - old.loss) / (new.bits - old.bits), number, before, after))
    state = list(start)
    found = [tuple(state)]
    for _, number, _, after in sorted(steps):  # the steepest fall first; of a group they come in order
        state[number] = after
        found.append(tuple(state))
    return found


def _corners(choices: Sequence[Choice]) -> list[int]:
    """The choices on the lower convex hull, from the one with the fewest bits to the one that loses least."""
    order = sorted(range(len(choices)), key=lambda i: (choices[i].bits, choices[i].loss))
    hull: list[int] = []
    for index in order:
        new = choices[index]
        if hull and (new.bits == choices[hull[-1]].bits or new.loss >= choices[hull[-1]].loss):
            continue
        while len(hull) > 1 and _slope(choices[hull[-2]], choices[hull[-1]]) >= _slope(choices[hull[-1]], new):
            hull.pop()
        hull.append(index)
    return hull


def _slope(one: Choice, other: Choice) -> float:
    return (other.loss - one.loss) / (other.bits - one.bits)
