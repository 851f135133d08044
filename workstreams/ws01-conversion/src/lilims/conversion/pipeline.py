"""Converts a checkpoint into a model folder: model.mlpackage, manifest.json, tokenizer files.

Knows the order of the work and what the folder holds. Must not know a family of models, MIL, or how a package runs.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial as partial_of
from pathlib import Path
from threading import Thread
from typing import Any

from lilims.core import manifest as m
from lilims.core import version
from lilims.core.errors import (
    MissingDependencyError,
    OutputExistsError,
    UsageError,
)
from lilims.core.events import emit
from lilims.core.files import new_directory

from .describe import manifest_of, parameters
from .fp16_scale import Fp16Scale, choose_scale, factors, read_scale, rescaled
from .gguf import is_gguf
from .policy.plan import GGUFForms, Plan, make_plan, read_wishes
from .policy.profiles import ProfileName
from .prepare import Prepared, prepare
from .reading import RECIPE, Origin, Proved, in_view_of, read_reading
from .shapes import GraphOptions, Shapes, plan_shapes
from .sources.hub import hub_name, local
from .spec import DecoderSpec
from .weights.resume import Partial, discard, identity, partial
from .weights.sizes import check_space, package_size
from .weights.streaming import MOST_JOBS, default_jobs
from .writing import AttentionForm, write_packages

__all__ = ["AttentionForm", "Conversion", "context_of", "convert", "require_coremltools"]

DEFAULT_CONTEXT = 8192  # tokens; smaller where the model's own limit is
_MEASURED = 128  # tokens of context of what is only measured
_OWN = (m.FILE_NAME, "model.mlpackage")  # either marks a model folder


@dataclass(frozen=True)
class Conversion:
    """What a conversion made: the folder, its manifest, seconds by phase, and what came of a budget."""

    folder: Path
    manifest: m.Manifest
    seconds: dict[str, float]
    budget: Proved | None = None


def convert(
    source: str | Path,
    out: str | Path,
    *,
    adapters: Sequence[str | Path] = (),
    quantize: str | None = None,
    group_size: int | None = None,
    recipe: str | Path | None = None,
    profile: ProfileName = "gpu",
    imatrix: str | Path | None = None,
    calibrate: str | None = None,
    calibration_tokens: int | None = None,
    budget: str | None = None,
    max_bpw: float | None = None,
    heldout: str | None = None,
    dask: str | None = None,
    context: int | None = None,
    name: str | None = None,
    attention: AttentionForm = "sdpa",
    graph: GraphOptions | None = None,
    fp16_scale: Fp16Scale = "off",
    gguf_forms: GGUFForms = "safe",
    jobs: int | None = None,
    resume: bool = False,
    force: bool = False,
) -> Conversion:
    """Converts the checkpoint `source` into the model folder `out`.

    Args:
        source: a folder with config.json and safetensors or PyTorch files, single or sharded; one such file beside its
            config.json; a GGUF file, of a model that is split any of its files; or `hf://org/name[@revision]`, a model
            of the Hugging Face hub, which is downloaded.
        adapters: folders of LoRA adapters (peft's layout), merged in this order.
        out: the folder to make; it appears complete or not at all.
        quantize: scheme of the matrices, such as fp16, int8, int4, int4-asym, int4-channel, lut4-r8
            (`lilims.conversion.quantize.GRAMMAR`); default is the profile's, for GGUF in profiles gpu and cpu "keep".
        group_size: values along the input dimension that share a scale: 16, 32, 64 or 128; default is the profile's.
        recipe: a YAML file of schemes by tensor (docs/quantisation.md); overrides `quantize`.
        profile: what the package is for: gpu, ane, cpu or balanced; defaults of schemes, chunk and compute units.
        imatrix: an importance matrix of llama.cpp, by which scales and tables are chosen.
        calibrate: a text in view of which matrices are quantised: `builtin`, one of `lilims data`, a file, or `self`,
            which the model writes itself. Schemes that do not say otherwise are rounded by gptq then.
        calibration_tokens: how many of it are taken; default is 8,192, or all that there are.
        budget: what may be lost on held-out text, `ppl<=3%` or `kl<=0.05`: schemes are chosen so that it holds at the
            fewest bits that are found. They stand in the folder's recipe.yaml. Without `calibrate` the text is `self`.
        max_bpw: bits per weight of the whole model, at most.
        heldout: the text on which the budget has to hold; default is every fourth window of `calibrate`.
        dask: a Dask scheduler's address, `tcp://host:port`, whose workers measure groups for the budget.
        context: tokens that the KV cache holds; default is the smaller of the model's own limit and 8192.
        name: the model's name; default is the source folder's.
        attention: the iOS 18 op, or matmul, softmax, matmul.
        graph: chunk, buckets, embedding and split into packages (`lilims.conversion.GraphOptions`).
        fp16_scale: a power of two up to 1 that the residual stream is multiplied by, with equal logits; "auto" is the
            largest that keeps fp16 from overflowing on random tokens, halved; "off" is 1.
        gguf_forms: how kept codes are stored: "safe", in one op; "compact", those of Q2_K, Q3_K, Q5_0, Q5_1, Q5_K,
            Q6_K, IQ4_NL, IQ4_XS and MXFP4 as a table and a scale, in two, which no device has been seen to run
            (docs/gguf.md).
        jobs: threads that quantise; default is the number of cores, at most 8. The bytes do not depend on it.
        resume: go on from what an interrupted conversion with `resume` has left, and leave such work if interrupted.
        force: replace `out` if it exists.

    Raises:
        UsageError: an option has a value that does not exist, or the context exceeds the model's positions.
        CheckpointError, UnsupportedModelError: the source is damaged, or not of a supported family.
        TokenizerError: the tokenizer is damaged, or has ids that the model has not.
        QuantizationError: a tensor cannot take the scheme, no `fp16_scale` keeps fp16 from overflowing, or the budget
            cannot be met.
        StorageError: the output exists (OutputExistsError), cannot be written, or finds no room on the disk.
        ModelNotFoundError: the hub has no such model, or cannot be reached.
        MissingDependencyError: coremltools is not installed (there is none for Windows), or what the source needs.
    """
    if jobs is not None and not 1 <= jobs <= MOST_JOBS:
        raise UsageError(f"--jobs must be 1 to {MOST_JOBS}, not {jobs}")
    scale, out = read_scale(fp16_scale), Path(out)
    model_name = _name(source, name)
    reading = read_reading(
        calibrate, calibration_tokens, budget, max_bpw, heldout, dask, recipe or quantize or group_size
    )
    source, hub = local(source)
    wishes = read_wishes(
        quantize, group_size, recipe, profile, imatrix, keep=is_gguf(source) and budget is None, forms=gguf_forms,
        calibrated=reading is not None,
    )  # fmt: skip
    require_coremltools()
    given = prepare(source, adapters=[Path(folder) for folder in adapters], hub=hub)
    checkpoint, spec = given.checkpoint, given.spec
    context = context_of(spec, context)
    plan = make_plan(wishes, spec, given.names, checkpoint.keep)
    shapes = plan_shapes(spec, context, plan.profile.prefill_chunk, graph)
    _check_output(source, out, force=force)
    if scale == "auto":
        schemes: dict[str, Any] = {"quantize": quantize, "group_size": group_size, "recipe": recipe, "imatrix": imatrix}
        trial: Callable[..., object] = partial_of(
            convert, source, adapters=adapters, profile=profile, context=min(context, _MEASURED), attention=attention,
            jobs=jobs, gguf_forms=gguf_forms, **({"quantize": "fp16"} if reading else schemes),
        )  # fmt: skip
        scale = choose_scale(lambda folder, factor: trial(folder, fp16_scale=factor), out)
    if scale != "off":
        given = _rescaled(given, plan, scale)
        spec = given.spec
    budgeted = None
    if reading is not None:
        raw = partial_of(convert, source, adapters=adapters, quantize="fp16", context=context, jobs=jobs)
        origin = Origin(source, tuple(Path(folder) for folder in adapters))
        plan, budgeted = in_view_of(reading, origin, given, plan, context, raw, jobs or default_jobs())
    made = _write(
        out, given, plan, shapes, name=model_name, attention=attention, jobs=jobs or default_jobs(), resume=resume,
        force=force, recipe=budgeted.found.recipe if budgeted else None,
    )  # fmt: skip
    return replace(made, budget=budgeted.proved(out)) if budgeted else made


def _write(
    out: Path,
    given: Prepared,
    plan: Plan,
    shapes: Shapes,
    *,
    name: str,
    attention: AttentionForm,
    jobs: int,
    resume: bool,
    force: bool,
    recipe: str | None,
) -> Conversion:
    """The folder, when all of it is decided. `recipe` is the text that a budget made of its schemes."""
    checkpoint, spec = given.checkpoint, given.spec
    with ExitStack() as stack:
        kept = _kept(stack, out, given, plan) if resume else None
        if kept is None:
            discard(out)
        room = sum(path.stat().st_size for path in given.companions) - (kept.size if kept else 0)
        size = package_size(spec, plan, shapes)
        check_space(out, (2 * size if shapes.options.staged else size) + room)
        begun = time.perf_counter()
        with new_directory(out, force=force) as folder:
            emit("convert.start", name=name, parameters=parameters(spec), bytes=4 * parameters(spec))
            hashed = _in_background(lambda: checkpoint.sha256) if jobs > 1 else None
            written = write_packages(folder, given, plan, shapes, attention=attention, jobs=jobs, kept=kept)
            _copy_companions(given, folder)
            if hashed is not None:
                hashed.join()
            if recipe is not None:
                (folder / RECIPE).write_text(recipe, "utf-8")
            manifest = manifest_of(
                checkpoint, spec, plan, written.shapes, written.schemes, name, given.tokens, folder, written.embedding
            )
            m.write_manifest(folder, manifest)
        seconds = {**written.seconds, "hash and sync": time.perf_counter() - begun - sum(written.seconds.values())}
    emit("convert.done", name=name, seconds=seconds)
    return Conversion(out, manifest, seconds)


def _copy_companions(given: Prepared, folder: Path) -> None:
    """Tokenizer files and the like, into the new folder."""
    for path in given.companions:
        copy = folder / path.relative_to(given.checkpoint.companions)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, copy)  # links, as in the hub's cache, become files


def _rescaled(given: Prepared, plan: Plan, scale: float) -> Prepared:
    """The checkpoint with another residual stream. Codes that are kept as they are cannot be multiplied."""
    found = replace(given, spec=rescaled(given.spec, scale))
    if role := next((role for role in factors(found.spec) if role in plan.kept), None):
        raise UsageError(
            f"--fp16-scale {scale:g} changes {given.names[role]!r}, whose codes are kept",
            hint="add --quantize int4, or so; or leave --fp16-scale out",
        )
    return found


def _kept(stack: ExitStack, out: Path, given: Prepared, plan: Plan) -> Partial:
    """What an interrupted conversion of the same source with the same schemes has left, held for this one."""
    import numpy

    scaled = factors(given.spec)
    schemes = {
        role: f"{plan.scheme_of(role)} {plan.multiple_of(role)}{f' · {scaled[role]}' if role in scaled else ''}"
        for role, _ in given.spec.roles()
    }
    importance = hashlib.sha256()
    for role in sorted(plan.importance):
        importance.update(f"{role} ".encode() + plan.importance[role].tobytes())
    name = identity(
        source=given.checkpoint.sha256,
        schemes=schemes,
        importance=importance.hexdigest(),
        calibration=plan.calibration.model_dump() if plan.calibration else None,
        versions=[version(), numpy.__version__],
    )
    return stack.enter_context(partial(out, name))


def _in_background(work: Callable[[], object]) -> Thread:
    """Starts work whose result is cached. Where it fails, whoever asks for the result does it again and hears why."""

    def run() -> None:
        with suppress(Exception):
            work()

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread


def _name(source: str | Path, wanted: str | None) -> str:
    if wanted is None:
        named = hub_name(source)
        last = named.repo.split("/")[1] if named else Path(source).resolve().name
        return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._")[:100] or "model"
    if not re.fullmatch(m.NAME, wanted):
        raise UsageError(
            f"--name {wanted!r} is not a name",
            hint="up to 100 letters, digits, dots, dashes and underscores; the first a letter or digit",
        )
    return wanted


def _check_output(source: Path, out: Path, *, force: bool) -> None:
    """--force replaces models, never the checkpoint itself nor a folder of something else."""
    if source.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"the output {str(out)!r} holds the checkpoint", hint="choose another -o")
    if force and out.is_dir() and any(out.iterdir()) and not any((out / name).exists() for name in _OWN):
        raise OutputExistsError(
            "exists and is no model folder, so --force does not replace it", where=out, hint="choose another -o"
        )


def require_coremltools() -> None:
    """Raises MissingDependencyError where coremltools is not installed, which then says where it is to be had."""
    import importlib.util

    if importlib.util.find_spec("coremltools") is None:
        raise MissingDependencyError(
            "conversion needs coremltools",
            hint="coremltools 9 has no Windows build: convert on Linux, WSL or macOS; packages run on Windows"
            if sys.platform == "win32"
            else "pip install 'coremltools>=9'",
        )


def context_of(spec: DecoderSpec, wanted: int | None) -> int:
    """The tokens of the KV cache: as many as are wanted, else the smaller of the model's own limit and 8192.

    Raises:
        UsageError: the model has not so many positions.
    """
    if wanted is None:
        return min(spec.max_positions, DEFAULT_CONTEXT)
    if not 1 <= wanted <= spec.max_positions:
        raise UsageError(
            f"--context {wanted} is outside the model's {spec.max_positions} positions",
            hint=f"choose 1 to {spec.max_positions}",
        )
    return wanted
