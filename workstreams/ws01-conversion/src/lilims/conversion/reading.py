"""A conversion that reads a text: to calibrate on it, and to meet a budget.

Knows the options and the order. Must not know how matrices are quantised, or schemes searched for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lilims.core import manifest as m
from lilims.core.errors import UsageError

from .policy.plan import Plan
from .policy.recipe import Recipe
from .prepare import Prepared

if TYPE_CHECKING:
    from .budget import Found, Goal
    from .calibration import Windows
    from .evaluation.windows import Window

__all__ = ["RECIPE", "Budgeted", "Origin", "Proved", "Reading", "in_view_of", "read_reading"]

RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Reading:
    """What was asked for, checked."""

    text: str
    tokens: int | None = None
    goal: Goal | None = None
    max_bpw: float | None = None
    heldout: str | None = None
    dask: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint can be opened again, by another process."""

    source: Path
    adapters: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Proved:
    """A budget that was met, and the change of the perplexity of the package itself on the same held-out text."""

    found: Found
    package_change: float


@dataclass(frozen=True)
class Budgeted:
    """Schemes that meet a budget, and the text that they meet it on."""

    found: Found
    heldout: Windows

    def proved(self, folder: Path) -> Proved:
        """Measures the package."""
        import numpy as np

        from .evaluation.runner import Work, run
        from .evaluation.sources import PackageSpec

        chosen = self.found.chosen.figures
        scores = run(Work(PackageSpec(folder)), _windows(self.heldout))
        return Proved(self.found, math.expm1(float(np.mean(scores.nll)) - chosen.nll + chosen.log_ratio))


def read_reading(
    calibrate: str | None,
    tokens: int | None,
    budget: str | None,
    max_bpw: float | None,
    heldout: str | None,
    dask: str | None,
    schemes: object,
) -> Reading | None:
    """Checks the options; None where no text is read.

    Raises:
        UsageError: a value is none, or an option has nothing to act on.
    """
    if budget is None:
        for name, value in (("--max-bpw", max_bpw), ("--heldout", heldout), ("--dask", dask)):
            if value is not None:
                raise UsageError(f"{name} belongs to a budget", hint='--budget "ppl<=3%"')
    if calibrate is None and tokens is not None and budget is None:
        raise UsageError("--calibration-tokens says how much of a text is taken", hint="name it with --calibrate")
    if budget is None:
        return None if calibrate is None else Reading(calibrate, tokens)
    if schemes is not None:
        raise UsageError("--budget chooses the schemes", hint="leave --quantize, --group-size and --recipe out")
    if max_bpw is not None and not max_bpw > 0:
        raise UsageError(f"--max-bpw must be a number above 0, not {max_bpw:g}")
    from .budget import read_goal
    from .calibration import SELF

    return Reading(calibrate or SELF, tokens, read_goal(budget), max_bpw, heldout, dask)


def in_view_of(
    reading: Reading,
    origin: Origin,
    given: Prepared,
    plan: Plan,
    context: int,
    convert_as_it_is: Callable[[Path], object],
    jobs: int,
) -> tuple[Plan, Budgeted | None]:
    """The plan with its matrices, quantised in view of the text; by the schemes that meet the budget, if there is one.

    Raises:
        UsageError, InputError, TokenizerError: the text does not do.
        QuantizationError: the budget cannot be met.
    """
    from .calibration import TOKENS, calibrate, calibration_windows, held_out

    tokens, budgeted = reading.tokens or TOKENS, None
    apart = reading.goal is not None and reading.heldout is None
    windows = calibration_windows(reading.text, given, context, tokens * 4 // 3 if apart else tokens, convert_as_it_is)
    if reading.goal is not None:
        if reading.heldout is None:
            windows, heldout = held_out(windows)
        else:
            heldout = calibration_windows(reading.heldout, given, windows.size, tokens, convert_as_it_is)
        budgeted = Budgeted(_searched(reading, origin, given, plan, windows, heldout, context, jobs), heldout)
        plan = _with_schemes(plan, budgeted.found)
    found = calibrate(given, plan, windows, context, threads=jobs)
    record = m.Calibration(text=windows.text, sha256=windows.sha256, tokens=windows.tokens)
    return replace(plan, made=found.made, calibration=record), budgeted


def _searched(
    reading: Reading,
    origin: Origin,
    given: Prepared,
    plan: Plan,
    windows: Windows,
    heldout: Windows,
    context: int,
    jobs: int,
) -> Found:
    from .budget import search
    from .budget.trial import TrialWork
    from .workers import crew

    assert reading.goal is not None
    work = TrialWork(
        origin.source, origin.adapters, given.checkpoint.sha256, given.spec.stream_scale, plan,
        _windows(heldout), context, threads=1,
    )  # fmt: skip
    with crew(jobs=jobs, dask=reading.dask) as workers:
        return search(reading.goal, reading.max_bpw, given, plan, windows, work, workers)


def _with_schemes(plan: Plan, found: Found) -> Plan:
    chosen = set(found.chosen.schemes)
    sha256 = hashlib.sha256(found.recipe.encode()).hexdigest()
    wishes = replace(plan.wishes, recipe=Recipe((), None, None, sha256))
    title = chosen.pop().title if len(chosen) == 1 else "mixed"
    return replace(plan, title=title, wishes=wishes, schemes={**plan.schemes, **found.roles})


def _windows(windows: Windows) -> tuple[Window, ...]:
    from .evaluation.windows import Window as One

    size = windows.size
    return tuple(One(index, index * size, ids, 0) for index, ids in enumerate(windows.ids))
