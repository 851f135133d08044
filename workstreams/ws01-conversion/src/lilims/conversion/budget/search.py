"""The fewest bits with which a budget holds on held-out text.

Knows the order of the work. Must not know how a trial is run, or a matrix quantised.

    1  alone      each group with each scheme, all else as the checkpoint has it: what it loses, before calibration
    2  uniform    all groups with one scheme, calibrated: by how much calibration makes up for the sum of these losses
    3  path       the assignments that lose least for their bits, if losses add up (allocate.py)
    4  measured   along the path, by bisection, calibrated models on the held-out text: the first that meets the goal

All that is measured is kept (ledger.py), as are calibrated matrices, so that a search that was interrupted goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilims.core import version
from lilims.core.errors import QuantizationError
from lilims.core.events import emit

from ..calibration import Windows, calibrate
from ..calibration.calibrate import FORMAT
from ..calibration.opened import OpenedModel
from ..describe import parameters
from ..policy.plan import Plan
from ..prepare import Prepared
from ..quantize import Scheme
from ..weights.resume import identity
from ..workers import Workers
from .allocate import Choice, path
from .goal import Figures, Goal
from .ladder import bits_of, groups_of, ladder_for, recipe_text
from .ledger import Ledger
from .trial import Trial, TrialWork, alone

__all__ = ["Found", "Point", "search"]


@dataclass(frozen=True)
class Point:
    """A calibrated model that was measured: the scheme of each group, bits per weight of the whole, figures."""

    schemes: tuple[Scheme, ...]
    bits: float
    figures: Figures


@dataclass(frozen=True)
class Found:
    """The outcome.

    Attributes:
        chosen: the point with the fewest bits that meets the goal.
        front: points that were measured, of which none has fewer bits and loses less than another; by bits.
        recipe: the choice as a recipe.
        roles: the scheme of each matrix.
    """

    goal: Goal
    chosen: Point
    front: list[Point]
    recipe: str
    roles: dict[str, Scheme]


class _Search:
    def __init__(
        self, goal: Goal, given: Prepared, plan: Plan, windows: Windows, work: TrialWork, workers: Workers
    ) -> None:
        self.goal, self.given, self.plan, self.windows, self.work = goal, given, plan, windows, work
        self.workers = workers
        self.groups = groups_of(given.spec, plan)
        self.rungs = ladder_for(plan.profile.name, "gptq")
        self.points: list[Point] = []
        roles = {role for group in self.groups for role in group.roles}
        others = {role: plan.scheme_of(role) for role, _ in given.spec.roles() if role not in roles}
        self._fixed = bits_of(given.spec, plan, {r: s for r, s in others.items() if r in dict(_matrices(given))})
        self._fixed += 16 * sum(shape[0] for _, shape in given.spec.roles() if len(shape) == 1)
        self.ledger = Ledger(
            identity(
                source=work.sha256, scale=work.stream_scale, calibration=windows.sha256, context=work.context,
                heldout=[(window.ids, window.first) for window in work.windows],
                schemes={role: str(scheme) for role, scheme in others.items()}, format=FORMAT,
                versions=[version(), np.__version__],
            )
        )  # fmt: skip
        self._trial: Trial | None = None
        self._opened: OpenedModel | None = None  # for calibrations: every rung has the same padding

    def bits(self, schemes: Sequence[Scheme]) -> float:
        """Bits per weight of the whole model."""
        total = self._fixed + bits_of(self.given.spec, self.plan, self.roles(schemes))
        return total / parameters(self.given.spec)

    def roles(self, schemes: Sequence[Scheme]) -> dict[str, Scheme]:
        """The scheme of each matrix."""
        return {role: s for group, s in zip(self.groups, schemes, strict=True) for role in group.roles}

    def losses(self) -> list[list[Figures]]:
        """1: of each group, by rung but the last, which is fp16."""
        items = [(group, rung) for group in self.groups for rung in self.rungs[:-1]]
        names = [f"{group.pattern} alone {replace(rung, method='rtn')}" for group, rung in items]
        missing = [i for i, name in enumerate(names) if self.ledger.get(name) is None]
        tasks = [{role: replace(items[i][1], method="rtn") for role in items[i][0].roles} for i in missing]
        for done, (i, lost) in enumerate(zip(missing, self.workers.map(alone, self.work, tasks), strict=True), 1):
            self.ledger.put(names[i], lost)
            emit("budget.alone", done=done, total=len(missing), group=items[i][0].pattern)
        found = [figures for name in names if (figures := self.ledger.get(name)) is not None]
        width = len(self.rungs) - 1
        return [found[i : i + width] for i in range(0, len(found), width)]

    def point(self, schemes: Sequence[Scheme]) -> Point:
        """2 and 4: a calibrated model on the held-out text."""
        roles = self.roles(schemes)
        name = " ".join(f"{role}={scheme}" for role, scheme in roles.items())
        figures = self.ledger.or_measure(name, lambda: self._measured(roles))
        found = Point(tuple(schemes), self.bits(schemes), figures)
        self.points.append(found)
        emit(
            "budget.point", bits=found.bits, value=self.goal.text(self.goal.value(figures)), met=self.goal.met(figures)
        )
        return found

    def _measured(self, roles: Mapping[str, Scheme]) -> Figures:
        if self._trial is None:
            self._trial = self.work.open()
        if all(scheme.kind == "fp16" for scheme in roles.values()):
            return self._trial.measure({})
        plan = replace(self.plan, schemes={**self.plan.schemes, **roles})
        if self._opened is None:
            size, context = self.windows.size, self.work.context
            self._opened = OpenedModel(self.given, self.plan, size, context, self.work.threads, keep=True)
        threads = self.work.threads
        made = calibrate(self.given, plan, self.windows, self.work.context, threads=threads, opened=self._opened).made
        return self._trial.measure({role: made[role].dequantize() for role in made})


def search(
    goal: Goal,
    max_bpw: float | None,
    given: Prepared,
    plan: Plan,
    windows: Windows,
    work: TrialWork,
    workers: Workers,
) -> Found:
    """Looks for the fewest bits with which the goal holds.

    Emits `budget.alone` (done, total, group) and `budget.point` (bits, value, met).

    Args:
        max_bpw: bits per weight of the whole model, at most.
        plan: what stays fp16 or is kept stays so; all other schemes are chosen here.
        windows: the text to calibrate on.
        work: the held-out text.
        workers: what measures groups.

    Raises:
        QuantizationError: the goal cannot be met; the best that was reached is named.
    """
    at = _Search(goal, given, plan, windows, work, workers)
    steps = _steps(at)
    bounded = [step for step in steps if max_bpw is None or at.bits(step) <= max_bpw]
    if not bounded:
        raise QuantizationError(
            f"the coarsest schemes take {at.bits(steps[0]):.2f} bits per weight, more than --max-bpw {max_bpw:g}",
            hint="a larger --max-bpw",
        )
    low, high = 0, len(bounded) - 1
    at.point(bounded[high])
    best = min((p for p in at.points if _within(p, max_bpw)), key=lambda p: goal.value(p.figures))
    if not goal.met(best.figures):
        reached = f"{goal.text(goal.value(best.figures))} at {best.bits:.2f} bits per weight"
        raise QuantizationError(
            f"the budget {goal} cannot be met: the best that was reached is {reached}",
            hint="a larger --max-bpw, or a larger budget" if max_bpw is not None else "a larger budget",
        )
    while low < high:
        middle = (low + high) // 2
        found = at.point(bounded[middle])
        low, high = (low, middle) if goal.met(found.figures) else (middle + 1, high)
    chosen = min((p for p in at.points if goal.met(p.figures) and _within(p, max_bpw)), key=lambda p: p.bits)
    comment = f"{goal}: {goal.text(goal.value(chosen.figures))} on held-out text at {chosen.bits:.2f} bits per weight"
    recipe = recipe_text(at.groups, chosen.schemes, comment)
    return Found(goal, chosen, _front(at.points, goal), recipe, at.roles(chosen.schemes))


def _steps(at: _Search) -> list[tuple[Scheme, ...]]:
    """3: assignments from few bits to many."""
    losses = at.losses()
    factors = []
    for rung, scheme in enumerate(at.rungs[:-1]):
        alone_all = sum(max(0.0, row[rung].divergence) for row in losses)
        together = at.point([scheme] * len(at.groups)).figures.divergence
        factors.append(together / alone_all if alone_all > 0 else 1.0)
    choices = []
    for group, row in zip(at.groups, losses, strict=True):
        lost = [max(0.0, figures.divergence) * factor for figures, factor in zip(row, factors, strict=True)] + [0.0]
        bits = [bits_of(at.given.spec, at.plan, dict.fromkeys(group.roles, rung)) for rung in at.rungs]
        choices.append([Choice(b, loss) for b, loss in zip(bits, lost, strict=True)])
    return [tuple(at.rungs[i] for i in step) for step in path(choices)]


def _within(point: Point, max_bpw: float | None) -> bool:
    return max_bpw is None or point.bits <= max_bpw


def _front(points: Sequence[Point], goal: Goal) -> list[Point]:
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bits, goal.value(p.figures))):
        if not found or goal.value(point.figures) < goal.value(found[-1].figures):
            found.append(point)
    return found


def _matrices(given: Prepared) -> list[tuple[str, tuple[int, ...]]]:
    return [(role, shape) for role, shape in given.spec.roles() if len(shape) == 2]
