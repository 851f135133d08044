"""One rung after the other, whatever becomes of each; the report of all.

Knows the order of the work and the report's fields. Must not know how a rung runs (isolated.py) or what it asks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lilims.core.errors import UsageError

from .isolated import LIMIT, ask
from .rungs import ExecutorName, Result, Rung, Target

__all__ = ["chosen", "climb", "report"]


def chosen(rungs: Sequence[Rung], names: Sequence[str]) -> list[Rung]:
    """The rungs of these names in their order; all if there are none.

    Raises:
        UsageError: there is no such rung.
    """
    known = [rung.name for rung in rungs]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no {name!r}", hint=f"there are {', '.join(known)}")
    return [rung for rung in rungs if not names or rung.name in names]


def climb(
    rungs: Sequence[Rung],
    executor: ExecutorName,
    compute_units: str,
    *,
    seconds: float = LIMIT,
    shared: Path | None = None,
    heard: Callable[[Rung, Result], None] = lambda _rung, _result: None,
) -> list[Result]:
    """Asks every rung in a process of its own; none of them can end this one.

    Args:
        seconds: what each may take.
        shared: where models that several rungs use are kept; None is a folder that goes with the climb.
        heard: is called behind each.
    """
    results = []
    with tempfile.TemporaryDirectory(prefix="lilims-ci-", ignore_cleanup_errors=True) as scratch:
        common = shared or Path(scratch) / "shared"
        common.mkdir(parents=True, exist_ok=True)
        for number, rung in enumerate(rungs):
            work = Path(scratch) / str(number)
            work.mkdir()
            result = ask(rung, Target(executor, compute_units, work, common), seconds=seconds)
            heard(rung, result)
            results.append(result)
    return results


def report(
    rungs: Sequence[Rung], results: Sequence[Result], executor: ExecutorName, compute_units: str
) -> dict[str, Any]:
    """The object of `--json` and of the artefact: who was asked on what machine, and every result."""
    from lilims.bench.machine import machine

    of = {rung.name: rung for rung in rungs}
    return {
        "executor": executor,
        "compute_units": compute_units if executor == "coreml" else None,
        "stand_in": executor != "coreml",
        "machine": machine(),
        "passed": all(result.passed for result in results),
        "results": [
            {**result.as_dict(), "shows": of[result.name].shows, "otherwise": of[result.name].otherwise}
            for result in results
        ],
    }
