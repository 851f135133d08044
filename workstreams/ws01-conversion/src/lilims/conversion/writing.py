"""Writes the packages of a prepared checkpoint: weights as they come, then the program that refers to them.

Knows the phases and their order. Must not know options of the command, or what else a model folder holds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Literal

from lilims.core import manifest as m
from lilims.core.errors import LilimsError, UnsupportedModelError
from lilims.core.events import emit

from .describe import metadata
from .packages import EMBEDDING_FILE, bytes_of, separate_functions, take_over, write_embedding
from .policy.plan import Plan
from .prepare import Prepared
from .shapes import PackagePlan, Shapes, plan_packages
from .stored import Stored
from .weights.placing import Placed
from .weights.resume import Partial
from .weights.streaming import write_tensors
from .weights.tensors import pieces
from .weights.weight_file import WeightFile

__all__ = ["AttentionForm", "Written", "write_packages"]

AttentionForm = Literal["sdpa", "decomposed"]
_STAGED = ".weights.bin"


@dataclass(frozen=True)
class Written:
    """What was written: each tensor's scheme, seconds by phase, the packages, the embedding where it is beside them."""

    schemes: dict[str, m.TensorScheme]
    seconds: dict[str, float]
    shapes: Shapes
    embedding: m.HostEmbedding | None


@dataclass(frozen=True)
class _Work:
    """What every package of a conversion is made from."""

    given: Prepared
    plan: Plan
    attention: AttentionForm


def write_packages(
    folder: Path,
    given: Prepared,
    plan: Plan,
    shapes: Shapes,
    *,
    attention: AttentionForm,
    jobs: int,
    kept: Partial | None = None,
) -> Written:
    """Quantises, builds and saves.

    Args:
        folder: where the packages are made.
        jobs: threads that quantise.
        kept: where weights are written so that an interrupted conversion can go on; None is in the folder.

    Raises:
        UnsupportedModelError: coremltools refuses the program.
        UsageError: a layer does not fit `max_chunk_mb`.
        CheckpointError, QuantizationError: a tensor is damaged, or cannot take its scheme.
        OSError: a file cannot be written.
    """
    from ._quiet import quiet_coremltools

    work, clock = _Work(given, plan, attention), [time.perf_counter()]
    with quiet_coremltools():
        from .emit import bank, functions  # noqa: F401  (imported here: it is timed)
        from .emit.program import weights_path
    clock.append(time.perf_counter())
    options, embedding = shapes.options, None
    own = weights_path(folder / f"{shapes.packages[0].stem}.mlpackage")
    staged = folder / _STAGED if options.staged else own
    staged.parent.mkdir(parents=True, exist_ok=True)
    with kept.open() if kept else WeightFile(staged) as file:
        placed = _write_weights(file, given, plan, jobs, kept)
        clock.append(time.perf_counter())
        if options.staged:
            file.flush()
            shapes, embedding, building = _write_parts(folder, kept.weights if kept else staged, placed, work, shapes)
        else:
            building = _save(folder, file, placed, work, shapes, shapes.packages[0])
    if kept is not None and not options.staged:
        kept.give(staged)
    elif kept is None and options.staged:
        staged.unlink()
    if options.split_functions:
        for package in shapes.packages:
            names = package.names(shapes.functions, split=True)
            separate_functions(folder / f"{package.stem}.mlpackage", {name: of[0] for name, of in names.items()})
    begun, imported, quantized = clock
    schemes = {role: _scheme(where.form, role, given, plan) for role, where in placed.items()}
    seconds = {
        "import": imported - begun,
        "quantize": quantized - imported,
        "build": building,
        "serialize": time.perf_counter() - quantized - building,
    }
    return Written(schemes, seconds, shapes, embedding)


def _write_parts(
    folder: Path, staged: Path, placed: dict[str, Placed], work: _Work, shapes: Shapes
) -> tuple[Shapes, m.HostEmbedding | None, float]:
    """Writes tensors that lie in one file into those where they belong, and the packages around them.

    Returns:
        the shapes with their packages, the embedding where it stands alone, seconds of building programs.
    """
    from .emit.program import weights_path

    spec, options, embedding, building = work.given.spec, shapes.options, None, 0.0
    shapes = replace(shapes, packages=plan_packages(spec, options, {role: bytes_of(p) for role, p in placed.items()}))
    if options.embedding == "host":
        embedding = write_embedding(staged, placed["embedding"], folder / EMBEDDING_FILE)
    for package in shapes.packages:
        path = weights_path(folder / f"{package.stem}.mlpackage")
        path.parent.mkdir(parents=True)
        roles = package.roles(spec, host_embedding=embedding is not None)
        with WeightFile(path) as file:
            own = take_over(staged, file, {role: where for role, where in placed.items() if role in roles})
            building += _save(folder, file, own, work, shapes, package)
    return shapes, embedding, building


def _save(
    folder: Path, file: WeightFile, placed: dict[str, Placed], work: _Work, shapes: Shapes, package: PackagePlan
) -> float:
    """Builds a package's program and writes it around its weights; returns the seconds of building."""
    from ._quiet import quiet_coremltools

    given, begun = work.given, time.perf_counter()
    with quiet_coremltools():
        from .emit.bank import Bank
        from .emit.export import forget_names
        from .emit.functions import build
        from .emit.program import save
    try:
        with quiet_coremltools():
            forget_names()
            fused = work.attention == "sdpa"
            program = build(given.spec, shapes, Bank(placed), fused_attention=fused, package=package)
            building = time.perf_counter() - begun
            about = metadata(given.spec, work.plan, shapes, given.tokens, package)
            save(program, folder / f"{package.stem}.mlpackage", about, file)
    except (LilimsError, OSError, MemoryError):
        raise
    except Exception as exc:  # coremltools raises bare ValueErrors and RuntimeErrors
        where = given.checkpoint.folder
        raise UnsupportedModelError(f"coremltools refused the program: {exc}", where=where) from exc
    return building


def _write_weights(file: WeightFile, given: Prepared, plan: Plan, jobs: int, kept: Partial | None) -> dict[str, Placed]:
    """All tensors, by role: those that an interrupted conversion has left, and the others as they are written."""
    shapes = given.spec.roles()
    before = dict(kept.placed) if kept else {}
    elements = sum(prod(shape) for role, shape in shapes if role not in before)
    if before:
        read = 4 * sum(prod(shape) for role, shape in shapes if role in before)
        emit("convert.resumed", done=len(before), total=len(shapes), bytes=read, written=file.size)
    work = pieces(given, plan, skip=before)
    written = dict(before)
    for role, placed in write_tensors(file, work, jobs=jobs, tensors=len(shapes), elements=elements, done=len(before)):
        written[role] = placed
        if kept is not None:
            kept.note(role, placed, file.mark)
    return {role: written[role] for role, _ in shapes}


def _scheme(stored: Stored, role: str, given: Prepared, plan: Plan) -> m.TensorScheme:
    kept = plan.kept.get(role)
    return m.TensorScheme(
        scheme=stored.label,
        shape=list(stored.shape),
        bits=round(stored.bits, 4),
        source=given.checkpoint.dtype(given.names[role]),
        error_steps=None if kept is None else float(f"{kept.error_steps:.4g}"),
    )
