"""Converts a checkpoint into a model folder: model.mlpackage, manifest.json, tokenizer files.

Knows the order of the work and what the folder holds. Must not know a family of models, MIL, or how a package runs.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

from lilims.core import manifest as m
from lilims.core import version
from lilims.core.errors import (
    CheckpointError,
    LilimsError,
    MissingDependencyError,
    OutputExistsError,
    UnsupportedModelError,
    UsageError,
)
from lilims.core.events import emit
from lilims.core.files import new_directory

from .architectures import Architecture, Config, architecture_for
from .checkpoint import Checkpoint, open_checkpoint
from .quantize import GROUP_SIZES, Scheme
from .shapes import Shapes, plan_shapes
from .spec import DecoderSpec
from .stored import Stored
from .weights import Plan, check_checkpoint, stream

__all__ = ["AttentionForm", "Conversion", "convert"]

AttentionForm = Literal["sdpa", "decomposed"]
DEFAULT_CONTEXT = 8192  # tokens; smaller where the model's own limit is
_OWN = (m.FILE_NAME, "model.mlpackage")  # either marks a model folder


@dataclass(frozen=True)
class Conversion:
    """What a conversion made: the folder, its manifest, seconds by phase."""

    folder: Path
    manifest: m.Manifest
    seconds: dict[str, float]


def convert(
    source: str | Path,
    out: str | Path,
    *,
    quantize: Scheme = "int4",
    group_size: int = 32,
    context: int | None = None,
    name: str | None = None,
    attention: AttentionForm = "sdpa",
    force: bool = False,
) -> Conversion:
    """Converts the Hugging Face checkpoint folder `source` into the model folder `out`.

    Args:
        source: a folder with config.json and safetensors, single or sharded.
        out: the folder to make; it appears complete or not at all.
        quantize: scheme of the matrices: fp16, int8 or int4 (symmetric, fp16 scales).
        group_size: values along the input dimension that share a scale: 16, 32, 64 or 128.
        context: tokens that the KV cache holds; default is the smaller of the model's own limit and 8192.
        name: the model's name; default is the source folder's.
        attention: the iOS 18 op, or matmul, softmax, matmul.
        force: replace `out` if it exists.

    Raises:
        UsageError: an option has a value that does not exist, or the context exceeds the model's positions.
        CheckpointError, UnsupportedModelError: the source is damaged, or not of a supported family.
        TokenizerError: the tokenizer is damaged, or has ids that the model has not.
        QuantizationError: a tensor cannot take the scheme.
        StorageError: the output exists (OutputExistsError), or cannot be written.
        MissingDependencyError: coremltools is not installed (there is none for Windows).
    """
    if quantize not in get_args(Scheme):
        raise UsageError(f"--quantize must be one of {', '.join(get_args(Scheme))}, not {quantize!r}")
    if group_size not in GROUP_SIZES:
        raise UsageError(f"--group-size must be one of {', '.join(map(str, GROUP_SIZES))}, not {group_size}")
    _require_coremltools()
    source, out = Path(source), Path(out)
    given = prepare(source)
    checkpoint, architecture, spec = given.checkpoint, given.architecture, given.spec
    context = _context(spec, context)
    plan = Plan(quantize, group_size)
    model_name = _name(source, name)
    _check_output(source, out, force=force)
    with new_directory(out, force=force) as folder:
        emit("convert.start", name=model_name, parameters=_parameters(spec), bytes=4 * _parameters(spec))
        shapes = plan_shapes(spec, context)
        stored, seconds = _write_package(folder, checkpoint, architecture, spec, plan, shapes, attention)
        for path in given.companions:
            shutil.copyfile(path, folder / path.name)  # links, as in the hub's cache, become files
        manifest = _manifest(checkpoint, spec, plan, shapes, stored, model_name, given.tokens, folder)
        m.write_manifest(folder, manifest)
    emit("convert.done", name=model_name, seconds=seconds)
    return Conversion(out, manifest, seconds)


@dataclass(frozen=True)
class Prepared:
    """A checkpoint of which everything but the tensors' values has been read and checked."""

    checkpoint: Checkpoint
    architecture: Architecture
    spec: DecoderSpec
    tokens: m.Tokens
    companions: list[Path]


def prepare(source: Path) -> Prepared:
    """Reads and checks a checkpoint's config, headers and tokenizer; nothing is written.

    Raises:
        CheckpointError, UnsupportedModelError, TokenizerError: as `convert`.
    """
    checkpoint = open_checkpoint(source)
    architecture = architecture_for(checkpoint.config, source / "config.json")
    spec = architecture.spec(Config(checkpoint.config, source / "config.json"))
    check_checkpoint(checkpoint, architecture, spec)
    return Prepared(checkpoint, architecture, spec, _tokens(checkpoint, spec), _companions(checkpoint, spec))


def _name(source: Path, wanted: str | None) -> str:
    if wanted is None:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", source.resolve().name).strip("-._")[:100] or "model"
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


def _require_coremltools() -> None:
    import importlib.util

    if importlib.util.find_spec("coremltools") is None:
        raise MissingDependencyError(
            "conversion needs coremltools",
            hint="coremltools 9 has no Windows build: convert on Linux, WSL or macOS; packages run on Windows"
            if sys.platform == "win32"
            else "pip install 'coremltools>=9'",
        )


def _context(spec: DecoderSpec, wanted: int | None) -> int:
    if wanted is None:
        return min(spec.max_positions, DEFAULT_CONTEXT)
    if not 1 <= wanted <= spec.max_positions:
        raise UsageError(
            f"--context {wanted} is outside the model's {spec.max_positions} positions",
            hint=f"choose 1 to {spec.max_positions}",
        )
    return wanted


def _parameters(spec: DecoderSpec) -> int:
    return sum(prod(shape) for _, shape in spec.roles())


def _write_package(
    folder: Path,
    checkpoint: Checkpoint,
    architecture: Architecture,
    spec: DecoderSpec,
    plan: Plan,
    shapes: Shapes,
    attention: AttentionForm,
) -> tuple[dict[str, m.TensorScheme], dict[str, float]]:
    """Quantises, builds and saves; returns each tensor's scheme and the seconds of each phase."""
    from ._quiet import quiet_coremltools

    clock = [time.perf_counter()]
    with quiet_coremltools():
        from .emit.bank import Bank
        from .emit.functions import build
        from .emit.program import save
    clock.append(time.perf_counter())
    bank, schemes = Bank(), {}
    for role, stored in stream(checkpoint, architecture, spec, plan):
        bank.add(role, stored)
        schemes[role] = _scheme(stored)
    clock.append(time.perf_counter())
    try:
        with quiet_coremltools():
            program = build(spec, shapes, bank, fused_attention=attention == "sdpa")
            clock.append(time.perf_counter())
            save(program, folder / "model.mlpackage", _metadata(spec, plan, shapes))
    except (LilimsError, OSError, MemoryError):
        raise
    except Exception as exc:  # coremltools raises bare ValueErrors and RuntimeErrors
        raise UnsupportedModelError(f"coremltools refused the program: {exc}", where=checkpoint.folder) from exc
    clock.append(time.perf_counter())
    phases = ("import", "quantize", "build", "serialize")
    return schemes, {p: b - a for p, a, b in zip(phases, clock, clock[1:], strict=False)}


def _scheme(stored: Stored) -> m.TensorScheme:
    return m.TensorScheme(scheme=stored.label, shape=list(stored.shape), bits=round(stored.bits, 4))


def _metadata(spec: DecoderSpec, plan: Plan, shapes: Shapes) -> dict[str, str]:
    """User-defined metadata of the package: enough to call it without the manifest."""
    import json

    return {
        "lilims.contract": m.CONTRACT,
        "lilims.context": str(shapes.context),
        "lilims.rows": str(shapes.rows),
        "lilims.functions": json.dumps({f.name: f.tokens for f in shapes.functions}),
        "lilims.vocab_size": str(spec.vocab_size),
        "lilims.rotary": json.dumps(spec.rotary),
        "lilims.mask_value": "-10000",
        "lilims.quantization": plan.scheme if plan.scheme == "fp16" else f"{plan.scheme} group {plan.group_size}",
        "lilims.compute_units": "CPU_AND_GPU",
    }


def _companions(checkpoint: Checkpoint, spec: DecoderSpec) -> list[Path]:
    """Tokenizer files, generation config and licence texts. A model without a tokenizer takes ids only.

    Raises:
        TokenizerError: the tokenizer is damaged, or has ids that the model has not.
        CheckpointError: one of the files is a link to somewhere else.
    """
    from lilims.core.errors import TokenizerError
    from lilims.tokenizer import Tokenizer
    from lilims.tokenizer.files import find_source, tokenizer_files

    folder = checkpoint.folder
    files = [p for p in [*folder.glob("LICEN[SC]E*"), folder / "generation_config.json"] if p.is_file()]
    try:
        source = find_source(folder)
    except TokenizerError:
        emit("convert.no_tokenizer")
        return _without_strange_links(folder, files)
    files = _without_strange_links(folder, files + tokenizer_files(folder))
    size = Tokenizer.load(folder).vocab_size
    if size > spec.vocab_size:
        raise TokenizerError(
            f"has ids up to {size - 1}, config.json's vocab_size is {spec.vocab_size}",
            where=source,
            hint="the tokenizer belongs to another model: fetch the checkpoint again",
        )
    return files


def _without_strange_links(folder: Path, files: list[Path]) -> list[Path]:
    """The files, sorted. They are copied into a model that may be published: no link may fetch a private file.

    Links within the folder are the author's business, and the hub's cache links to `../../blobs`.
    """
    home = folder.resolve()
    for path in files:
        target = path.resolve()
        if not target.is_relative_to(home) and not target.is_relative_to(home.parent.parent / "blobs"):
            raise CheckpointError(
                "is a link that leads out of the checkpoint",
                where=path,
                hint="put the file itself there if you trust it, or remove the link",
            )
    return sorted(files)


def _ids(*values: Any) -> list[int]:
    """All token ids among config values that may be an id, a list of ids or absent; in order, each once."""
    flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(v for v in flat if type(v) is int and v >= 0))


def _tokens(checkpoint: Checkpoint, spec: DecoderSpec) -> m.Tokens:
    """The ids that the decoding loop needs.

    Raises:
        CheckpointError: one is outside the vocabulary (its key is named).
    """
    config, generation = checkpoint.config, checkpoint.generation_config
    for file, table in (("generation_config.json", generation), ("config.json", config)):
        for key in ("bos_token_id", "eos_token_id"):
            for token in _ids(table.get(key)):
                if token >= spec.vocab_size:
                    raise CheckpointError(
                        f"{key!r} is {token}, outside the vocabulary of {spec.vocab_size}",
                        where=checkpoint.folder / file,
                        hint="config.json and generation_config.json must be of one model",
                    )
    bos = _ids(generation.get("bos_token_id"), config.get("bos_token_id"))
    eos = _ids(generation.get("eos_token_id"), config.get("eos_token_id"))
    padding = [p for p in _ids(config.get("pad_token_id"), eos, [0]) if p < spec.vocab_size]
    return m.Tokens(bos=bos[0] if bos else None, eos=eos, padding=padding[0])


def _licence(folder: Path) -> str | None:
    """The `license:` line of the model card's front matter."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    with card.open(encoding="utf-8", errors="replace") as file:
        head = file.read(4096)
    found = re.match(r"---\n(?:.*\n)*?license:\s*([\w.-]+)\s*\n(?:.*\n)*?---", head)
    return found[1] if found else None


def _positions(spec: DecoderSpec) -> m.Positions:
    if spec.rotary:
        local = dict(spec.local_rotary) if spec.local_rotary else None
        return m.Positions(kind="rotary", rotary=dict(spec.rotary), local_rotary=local)
    return m.Positions(kind="learned" if spec.learned_positions else "none", learned=spec.learned_positions)


def _manifest(
    checkpoint: Checkpoint,
    spec: DecoderSpec,
    plan: Plan,
    shapes: Shapes,
    tensors: dict[str, m.TensorScheme],
    name: str,
    tokens: m.Tokens,
    folder: Path,
) -> m.Manifest:
    import coremltools
    import numpy

    parameters = _parameters(spec)
    stored_bits = sum(t.bits * prod(t.shape) for t in tensors.values())
    return m.Manifest(
        name=name,
        licence=_licence(checkpoint.folder),
        source=m.Source(kind="huggingface", name=checkpoint.folder.resolve().name, sha256=checkpoint.sha256),
        architecture=m.Architecture(
            model_type=spec.model_type,
            layers=len(spec.layers),
            hidden_size=spec.hidden_size,
            heads=spec.layers[0].attention.heads,
            kv_heads=spec.kv_heads,
            head_dim=spec.head_dim,
            vocab_size=spec.vocab_size,
            parameters=parameters,
        ),
        positions=_positions(spec),
        tokens=tokens,
        context=shapes.context,
        window=spec.window,
        local_window=spec.local_window,
        state=m.StateShape(shape=list(shapes.state(spec))),
        functions={
            f.name: m.FunctionShape(tokens=f.tokens, rows=shapes.rows, logits=f.logits) for f in shapes.functions
        },
        quantization=m.Quantization(
            scheme=plan.scheme,
            group_size=None if plan.scheme == "fp16" else plan.group_size,
            bits_per_weight=round(stored_bits / parameters, 4),
            tensors=tensors,
        ),
        compatible_runtime=">=0.1,<0.2",
        tools={"lilims": version(), "coremltools": coremltools.__version__, "numpy": numpy.__version__},
        files=m.describe_files(folder),
    )
