"""What each part of a model costs: the reference with this part alone as the model has it, against the reference.

Knows parts and the order of the work. Must not know packages or formulas.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lilims.core.errors import UsageError
from lilims.core.events import emit

from ..workers import crew
from .measure import Evaluation
from .metrics import Mean
from .mixed import mixed
from .runner import Work, run, usual_jobs
from .sources import PackageSpec
from .weights import Weights
from .windows import Window

__all__ = ["divergence_by_part", "parts_of"]


def divergence_by_part(found: Evaluation, windows: int, *, jobs: int | None = None) -> dict[str, Mean]:
    """KL(reference ‖ reference with one part of the model), nats a token, by part: `embedding`, `layer 0` …, `head`.

    Losses of parts are small and about independent, so that their sum is near the whole model's. Emits
    `evaluate.part` (part, done, total).

    Args:
        found: an evaluation against a package.
        windows: of its text that are measured, spread evenly.
        jobs: processes; None is as many as cores allow.

    Raises:
        UsageError: the reference is not a package.
        ExecutionError: logits are not finite.
    """
    reference = found.reference
    if not isinstance(reference, PackageSpec):
        raise UsageError("what each layer costs takes a package as the reference", hint="convert it with fp16")
    chosen = _spread(found.windows, windows)
    weights = Weights(found.model.folder, found.model.manifest)
    parts = parts_of(found.model.manifest.quantization.tensors)
    count = min(jobs or usual_jobs(len(chosen), 0, None), len(chosen))
    result: dict[str, Mean] = {}
    for done, (part, names) in enumerate(parts.items(), 1):
        with tempfile.TemporaryDirectory(prefix="lilims-part-") as scratch, crew(jobs=count, dask=None) as workers:
            model = mixed(reference, weights, names, Path(scratch) / "m")
            scores = run(Work(model, reference, found.shelf), chosen, workers=workers)
        result[part] = Mean.of(scores.divergence)
        emit("evaluate.part", part=part, done=done, total=len(parts))
    return result


def parts_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of tensors by the part that they belong to, in the model's order."""
    found: dict[str, list[str]] = {}
    for name in names:
        words = name.split(".")
        part = f"layer {words[1]}" if words[0] == "layers" else "head" if words[0] == "final_norm" else words[0]
        found.setdefault(part, []).append(name)
    order = {"embedding": -2, "positions": -1}
    return dict(sorted(found.items(), key=lambda one: order.get(one[0], _place(one[0]))))


def _place(part: str) -> int:
    return int(part.split()[1]) if part.startswith("layer ") else 1 << 30


def _spread(windows: list[Window], count: int) -> list[Window]:
    count = min(count, len(windows))
    places = np.linspace(0, len(windows) - 1, count).round().astype(int)
    return [windows[place] for place in places]
