"""What a conversion would make, from config.json alone: plan, sizes, memory.

Knows how sizes are added up. Must not read or write a tensor. weight.bin is counted blob by blob and the program is
built as in a conversion, so both sizes are exact, but for tensors of equal content, which a conversion stores once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from lilims.core import manifest as m
from lilims.core.errors import CheckpointError
from lilims.core.files import read_json

from .architectures import Architecture, Config, architecture_for
from .describe import metadata, parameters
from .gguf import is_gguf
from .packages import bytes_of
from .pipeline import context_of
from .policy.plan import GGUFForms, Plan, make_plan, read_wishes
from .policy.profiles import ProfileName
from .prepare import prepare, tokens_of
from .shapes import GraphOptions, PackagePlan, Shapes, plan_packages, plan_shapes
from .sources.adapter import Adapter
from .sources.checkpoint import refuse_other_files, require
from .sources.hub import local
from .sources.tensor_files import SUFFIXES
from .spec import DecoderSpec
from .stored import Indexed, Palettized, Stored
from .weights.placing import Placed
from .weights.sizes import place_all
from .weights.streaming import AHEAD, default_jobs
from .weights.tensors import PIECE
from .weights.weight_file import BITS, WeightFile
from .writing import AttentionForm

__all__ = ["Estimate", "Group", "dry_run", "estimate", "read_config"]

_BASE = 110_000_000  # bytes of a process with numpy and coremltools
_BYTES_AT_WORK = 20  # for each element that a thread has at work
_BYTES_OF_PROGRAM = 42  # in memory, for each byte of model.mlmodel
_PACKAGE_MANIFEST = 617  # bytes of Manifest.json, which is the same in every package


@dataclass(frozen=True)
class Group:
    """Tensors of one part of the model in one scheme; `bytes` are those of the arrays, records and padding left out."""

    part: str
    scheme: str
    tensors: int
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Estimate:
    """What a conversion would make. All sizes in bytes.

    Attributes:
        program: of model.mlmodel; None where coremltools is not installed to build it.
        packages: how many folders; one unless the model is split.
        weights: of weight.bin, of all packages, and of the embedding's file where the host keeps it.
        package: of the whole .mlpackage, or of all of them.
        state: of the KV cache, fp16, at this context.
        conversion: peak memory of the conversion.
        running: weights and state, working memory left out; `running_portable` in the portable executor, whose state
            is float32.
    """

    model_type: str
    parameters: int
    quantization: str
    bits_per_weight: float
    context: int
    functions: dict[str, int]
    packages: int
    groups: list[Group]
    weights: int
    program: int | None
    package: int
    state: int
    conversion: int
    running: int
    running_portable: int

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def dry_run(
    source: str | Path,
    *,
    adapters: Sequence[str | Path] = (),
    quantize: str | None = None,
    group_size: int | None = None,
    recipe: str | Path | None = None,
    profile: ProfileName = "gpu",
    imatrix: str | Path | None = None,
    calibrate: str | None = None,
    context: int | None = None,
    attention: AttentionForm = "sdpa",
    graph: GraphOptions | None = None,
    jobs: int | None = None,
    gguf_forms: GGUFForms = "safe",
) -> Estimate:
    """What `convert` would make of a checkpoint folder, of which config.json suffices, or of a config file.

    Args and errors are those of `convert`; nothing is written. Adapters change no size: only their options are
    checked. Of a model of the hub no weights are downloaded.
    """
    source, _ = local(source, weights=False)
    for adapter in adapters:
        Adapter(Path(adapter))
    wishes = read_wishes(
        quantize, group_size, recipe, profile, imatrix, keep=is_gguf(source), forms=gguf_forms,
        calibrated=calibrate is not None,
    )  # fmt: skip
    keep = None
    if is_gguf(source):  # its header says as much as a config.json
        given = prepare(source)
        spec, names, keep, tokens = given.spec, given.names, given.checkpoint.keep, given.tokens
    else:
        architecture, spec = read_config(source)
        tokens = _tokens(source, spec)
        names = {role: architecture.prefixes[0] + architecture.source(role).name for role, _ in spec.roles()}
    plan = make_plan(wishes, spec, names, keep)
    shapes = plan_shapes(spec, context_of(spec, context), plan.profile.prefill_chunk, graph)
    return estimate(spec, plan, shapes, tokens, attention=attention, jobs=jobs or default_jobs())


def read_config(source: Path) -> tuple[Architecture, DecoderSpec]:
    """The architecture and spec of a checkpoint folder, of which config.json suffices, or of a config file.

    Raises:
        CheckpointError, UnsupportedModelError: it is damaged, or not of a supported family.
    """
    require(source)
    refuse_other_files(source, (".json", *SUFFIXES))
    path = _config_path(source)
    config = _table(path)
    architecture = architecture_for(config, path)
    return architecture, architecture.spec(Config(config, path))


def _config_path(source: Path) -> Path:
    if source.is_dir():
        return source / "config.json"
    return source.with_name("config.json") if source.suffix in SUFFIXES else source


def _table(path: Path) -> dict[str, Any]:
    value = read_json(path, error=CheckpointError)
    if not isinstance(value, dict):
        raise CheckpointError("not a JSON object", where=path, hint="name a folder with config.json, or such a file")
    return value


def _tokens(source: Path, spec: DecoderSpec) -> m.Tokens:
    path = _config_path(source)
    beside = path.with_name("generation_config.json")
    generation = _table(beside) if source.is_dir() and beside.is_file() else {}
    return tokens_of(_table(path), generation, spec, path.parent)


def estimate(
    spec: DecoderSpec, plan: Plan, shapes: Shapes, tokens: m.Tokens, *, attention: AttentionForm, jobs: int
) -> Estimate:
    """Adds up what a conversion with these plans would make."""
    options = shapes.options
    with WeightFile(None) as file:
        placed = place_all(file, spec, plan)
    if options.staged:
        sizes = {role: bytes_of(tensor) for role, tensor in placed.items()}
        shapes = replace(shapes, packages=plan_packages(spec, options, sizes))
    host = options.embedding == "host"
    weights = _row_bytes(placed["embedding"]) if host else 0
    program: int | None = 0
    folders = 0
    for package in shapes.packages:
        with WeightFile(None) as file:
            own = place_all(file, spec, plan, package.roles(spec, host_embedding=host) if options.staged else None)
            size = _program_size(spec, plan, shapes, tokens, own, file, attention, package)
            program = None if size is None or program is None else program + size
            weights += file.finish()
        folders += len(package.names(shapes.functions, split=options.split_functions))
    state = 2 * prod(shapes.state(spec))
    numbers = parameters(spec)
    return Estimate(
        model_type=spec.model_type,
        parameters=numbers,
        quantization=plan.title,
        bits_per_weight=round(sum(p.form.bits * prod(p.form.shape) for p in placed.values()) / numbers, 4),
        context=shapes.context,
        functions={f.name: f.tokens for f in shapes.functions},
        packages=folders,
        groups=_groups(placed),
        weights=weights,
        program=program,
        package=weights + (program or 0) + folders * _PACKAGE_MANIFEST,
        state=state,
        conversion=_peak(placed, program or 0, jobs),
        running=weights + state,
        running_portable=weights + 2 * state,
    )


def _row_bytes(embedding: Placed) -> int:
    """Bytes of the embedding as a file of rows: codes, scales and offsets, or fp16 values."""
    if isinstance(embedding.form, Palettized):
        return 2 * prod(embedding.form.shape)
    return sum((prod(part.shape) * BITS[part.dtype] + 7) // 8 for part in embedding.parts.values())


def _program_size(
    spec: DecoderSpec,
    plan: Plan,
    shapes: Shapes,
    tokens: m.Tokens,
    placed: Mapping[str, Placed],
    file: WeightFile,
    attention: AttentionForm,
    package: PackagePlan,
) -> int | None:
    import importlib.util

    if importlib.util.find_spec("coremltools") is None:
        return None
    from ._quiet import quiet_coremltools

    with quiet_coremltools():
        from .emit.bank import Bank
        from .emit.export import forget_names
        from .emit.functions import build
        from .emit.program import serialize

        forget_names()
        program = build(spec, shapes, Bank(placed), fused_attention=attention == "sdpa", package=package)
        about = metadata(spec, plan, shapes, tokens, package)
        return len(serialize(program, about, file))


def _part(role: str) -> str:
    kind = re.sub(r"^layers\.\d+\.", "", role)
    if kind.endswith(".bias") or "norm" in kind:
        return "norms and biases"
    if ".experts." in kind:
        return "experts"
    return kind.split(".", 1)[0]


def _groups(placed: Mapping[str, Placed]) -> list[Group]:
    """The tensors by part and scheme, in the order in which they come first."""
    found: dict[tuple[str, str], list[int]] = {}
    for role, tensor in placed.items():
        count = found.setdefault((_part(role), tensor.form.label), [0, 0, 0])
        count[0] += 1
        count[1] += prod(tensor.form.shape)
        count[2] += sum((prod(p.shape) * BITS[p.dtype] + 7) // 8 for p in tensor.parts.values())
    return [Group(part, scheme, *count) for (part, scheme), count in found.items()]


def _peak(placed: Mapping[str, Placed], program: int, jobs: int) -> int:
    """Peak memory of a conversion: what is there anyway, the pieces at work, and the program before it is written.

    The factors were measured (docs/performance.md).
    """
    largest = max(min(PIECE, prod(p.form.shape)) if _in_pieces(p.form) else prod(p.form.shape) for p in placed.values())
    at_work = min(jobs, max(1, AHEAD // largest)) * largest
    return _BASE + _BYTES_AT_WORK * at_work + _BYTES_OF_PROGRAM * program


def _in_pieces(form: Stored) -> bool:
    return not (isinstance(form, Indexed) or (isinstance(form, Palettized) and len(form.table) == 1))
