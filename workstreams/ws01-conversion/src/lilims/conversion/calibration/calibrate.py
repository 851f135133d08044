"""The matrices of a model, quantised in view of a text; unit by unit, each kept on disk as soon as it is made.

Knows what a calibration depends on, and how an interrupted one goes on. Must not know how a unit is made (chain.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from lilims.core import version
from lilims.core.events import emit

from ..fp16_scale import factors
from ..policy.plan import Plan
from ..prepare import Prepared
from ..weights.resume import identity
from .chain import Chain, Unit
from .opened import OpenedModel
from .shelf import Made, Shelf, shelf_for
from .text import Windows

__all__ = ["FORMAT", "Calibration", "calibrate"]

FORMAT = 1  # of what is computed: another number where the arithmetic changes


@dataclass(frozen=True)
class Calibration:
    """What a model was calibrated on, and what came of it.

    Attributes:
        key: a hash of all that it depends on.
        made: the matrices, by role.
    """

    windows: Windows
    key: str
    made: Made


def calibrate(
    given: Prepared,
    plan: Plan,
    windows: Windows,
    context: int,
    *,
    threads: int | None = None,
    opened: OpenedModel | None = None,
) -> Calibration:
    """Quantises every matrix that the plan does not keep in fp16.

    Emits `calibrate.unit` (unit, done, total, eta, kept: it was there already). What an earlier run with the same
    checkpoint, schemes and text has made is taken from the cache folder.

    Args:
        given: the checkpoint.
        plan: schemes, by which matrices are rounded: -gptq in view of the text, -search and tables with errors weighted
            by it, -rtn as ever.
        windows: the text.
        context: of the package.
        threads: of an op; None is one a core. Sums may differ in their last bits with the number of threads, and a code
            with them.
        opened: the model, where it is open for such windows, and has the shapes of the plan. It stays open.

    Raises:
        CheckpointError, QuantizationError: a tensor is damaged, or cannot take its scheme.
        ExecutionError: what comes out of a layer is not finite.
        StorageError: the cache folder cannot be written.
    """
    key = _key(given, plan, windows, context)
    total = sum(prod(shape) for role, shape in given.spec.roles() if len(shape) == 2)
    shelf = shelf_for(key, total + 8 * windows.tokens * given.spec.hidden_size)
    with ExitStack() as stack:
        if opened is None:
            opened = stack.enter_context(closing(OpenedModel(given, plan, windows.size, context, threads)))
        units = _Work(Chain(opened, plan, windows.ids), shelf, len(given.spec.layers)).run()
    shelf.finish()
    return Calibration(windows, key, Made(shelf, units))


def _key(given: Prepared, plan: Plan, windows: Windows, context: int) -> str:
    scaled = factors(given.spec)
    schemes = {
        role: f"{plan.scheme_of(role)} {plan.multiple_of(role)} {scaled.get(role, 1)}" for role, _ in given.spec.roles()
    }
    rotary = context if given.spec.rotary or given.spec.local_rotary else 0  # some tables depend on it
    return identity(
        calibration=FORMAT,
        source=given.checkpoint.sha256,
        schemes=schemes,
        windows=windows.sha256,
        context=rotary,
        versions=[version(), np.__version__],
    )


class _Work:
    """Units in order, those that are on the shelf first."""

    def __init__(self, chain: Chain, shelf: Shelf, layers: int) -> None:
        self._chain, self._shelf = chain, shelf
        self._makers: dict[str, Callable[[], Unit]] = {"embedding": chain.embedding}
        for index in range(layers):
            self._makers[f"layer-{index}"] = partial(chain.layer, index)
        self._makers["head"] = chain.head

    def run(self) -> dict[str, str]:
        """Makes what is not there; role → unit."""
        found: dict[str, str] = {}
        begun, made_here, current = time.perf_counter(), 0, False
        for done, (unit, make) in enumerate(self._makers.items(), 1):
            made = self._shelf.read(unit)
            kept = made is not None
            if made is None:
                if not current:
                    self._catch_up(done - 1)
                    begun, current = time.perf_counter(), True
                made = make()
                self._shelf.write(unit, made)
                self._keep_streams(unit, made)
                made_here += 1
            elif current:  # a later unit of an earlier run: the streams have to pass it all the same
                self._pass(done - 1, made)
            found |= dict.fromkeys(made, unit)
            left = len(self._makers) - done
            eta = (time.perf_counter() - begun) / max(1, made_here) * left
            emit("calibrate.unit", unit=unit, done=done, total=len(self._makers), eta=eta, kept=kept)
        return found

    def _keep_streams(self, unit: str, made: Unit) -> None:
        chain = self._chain
        if unit == "embedding":
            chain.begin(made)
        elif unit != "head":
            streams = {"exact": np.stack(chain.exact), "shipped": np.stack(chain.shipped)}
            self._shelf.write_streams(unit, streams)

    def _catch_up(self, done: int) -> None:
        """Brings the streams behind the first `done` units."""
        if not done:
            return
        units = list(self._makers)
        streams = self._shelf.read_streams(units[done - 1])
        if streams is not None and set(streams) == {"exact", "shipped"}:
            self._chain.exact, self._chain.shipped = list(streams["exact"]), list(streams["shipped"])
            return
        for place, unit in enumerate(units[:done]):
            self._pass(place, self._shelf.read(unit) or {})

    def _pass(self, place: int, made: Unit) -> None:
        """Takes the streams through a unit that is made."""
        if place == 0:
            self._chain.begin(made)
        elif place < len(self._makers) - 1:
            self._chain.follow(place - 1, made)
