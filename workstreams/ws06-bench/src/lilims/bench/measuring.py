"""Models one after the other, each in processes of its own, and what their figures come to.

Knows which figures there are and what they are called. Must not know how they are taken, nor how they are shown.

A start is "cold" in the sense that the process is new: from its start, imports and loading included, to the first token
of the prompt. Files are in the system's cache and graphs in lilims' own: one start before the others sees to that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .figures import percentiles, summarise
from .workload import Workload

if TYPE_CHECKING:
    from lilims.core.manifest import Manifest

__all__ = ["Progress", "bench", "found", "measure"]

Progress = Callable[[str], None]


def bench(
    models: Sequence[str | None],
    workload: Workload,
    *,
    units: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """The report on several models: {"machine", "workload", "models": [figures of each]}.

    Args:
        models: names or folders; None is the built-in model.
        units: compute units of Core ML, each of which is measured; empty takes each package's own.
        progress: is told what is being done.

    Raises:
        ContextOverflowError: a prompt does not fit a model; before anything was measured.
        LilimsError: what loading or running a model raises.
    """
    from dataclasses import replace

    from .machine import machine

    chosen = [found(model) for model in models]
    for folder, manifest in chosen:
        workload.check_room(manifest.context, str(folder))
    variants = [replace(workload, compute_units=unit) for unit in units] or [workload]
    measured = [_measured(folder, manifest, one, progress) for folder, manifest in chosen for one in variants]
    return {"machine": machine(), "workload": workload.as_dict(), "models": measured}


def measure(model: str | Path | None, workload: Workload | None = None) -> dict[str, Any]:
    """The figures of one model.

    Raises:
        ContextOverflowError, LilimsError: as `bench`.
    """
    (seen,) = bench([None if model is None else str(model)], workload or Workload())["models"]
    assert isinstance(seen, dict)
    return seen


def found(model: str | None) -> tuple[Path, Manifest]:
    """The folder and manifest of a name, a folder or a package; None is the built-in model."""
    from lilims.core.locate import is_package
    from lilims.core.manifest import read_manifest
    from lilims.models.names import resolve

    folder = resolve(model)
    folder = folder.parent if is_package(folder) else folder
    return folder, read_manifest(folder)


def _measured(folder: Path, manifest: Manifest, workload: Workload, progress: Progress) -> dict[str, Any]:
    from .processes import Child, start

    task = {"model": str(folder), "workload": workload.as_dict()}
    starts: list[tuple[float, float]] = []
    for number in range(workload.cold + 1 if workload.cold else 0):
        progress(f"{manifest.name}: start {number} of {workload.cold}")
        timed = start(task)
        starts += [timed] if number else []
    progress(f"{manifest.name}: prefill, decode, first token")
    with Child({**task, "what": "measure"}) as child:
        raw = child.answer()["figures"]
    return {**_about(folder, manifest), **_figures(raw, workload, starts)}


def _about(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """What the manifest says of a model."""
    from lilims.core.manifest import identity

    quantization = manifest.quantization
    own = identity(manifest)
    quality = [record for record in manifest.quality if record.model == own]
    last = quality[-1] if quality else None
    return {
        "name": manifest.name,
        "folder": str(folder),
        "identity": own,
        "scheme": quantization.scheme,
        "bits_per_weight": quantization.bits_per_weight,
        "parameters": manifest.architecture.parameters,
        "weight_bytes": sum(record.bytes for name, record in manifest.files.items() if name.endswith("weight.bin")),
        "perplexity": None if last is None else {"value": last.perplexity, "text": last.text, "tokens": last.tokens},
    }


def _figures(raw: dict[str, Any], workload: Workload, starts: list[tuple[float, float]]) -> dict[str, Any]:
    """What one process measured, summarised: seconds, tokens/s, bytes, millijoules a token."""
    steps: list[list[float]] = raw["decode"]
    loads = [load for _, load in starts] or [raw["load_seconds"]]
    return {
        "executor": raw["executor"],
        "compute_units": workload.compute_units,
        "load": {"seconds": summarise(loads).as_dict()},
        "first_token": {
            "cold_seconds": summarise([first for first, _ in starts]).as_dict() if starts else None,
            "warm_seconds": summarise(raw["first_token"]).as_dict(),
        },
        "prefill": {
            "tokens": workload.prompt,
            "tokens_per_second": summarise([workload.prompt / seconds for seconds in raw["prefill"]]).as_dict(),
        },
        "decode": {
            "tokens": workload.tokens,
            "tokens_per_second": summarise([len(times) / sum(times) for times in steps]).as_dict(),
            "inter_token_seconds": percentiles([seconds for times in steps for seconds in times]),
        },
        "memory": raw["memory"],
        "energy": _energy(raw["energy"], workload),
        "compute_plan": raw.get("compute_plan"),
    }


def _energy(raw: dict[str, Any], workload: Workload) -> dict[str, Any]:
    """Millijoules a token of both phases, or why there are none."""
    if "unavailable" in raw:
        return {"unavailable": raw["unavailable"]}
    counts = {"prefill": workload.prompt * workload.repetitions, "decode": workload.tokens * workload.repetitions}
    spent: dict[str, Any] = {"source": raw["source"]}
    for phase, joules in raw["joules"].items():
        spent[f"{phase}_millijoules_per_token"] = None if joules is None else 1000 * joules / counts[phase]
    return spent
