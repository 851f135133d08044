"""What a model folder says about itself: its manifest, and the package's user-defined metadata.

Knows the manifest's fields. Must not know how weights are quantised or written.
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

from lilims.core import manifest as m
from lilims.core import version

from .policy.plan import Plan
from .shapes import PackagePlan, Shapes
from .sources.checkpoint import Checkpoint
from .spec import DecoderSpec

__all__ = ["manifest_of", "metadata", "parameters"]


def parameters(spec: DecoderSpec) -> int:
    """Numbers that the model has."""
    return sum(prod(shape) for _, shape in spec.roles())


def metadata(
    spec: DecoderSpec, plan: Plan, shapes: Shapes, tokens: m.Tokens, package: PackagePlan | None = None
) -> dict[str, str]:
    """User-defined metadata of a package: enough to call it without the manifest."""
    import json

    package = package or shapes.packages[0]
    return {
        "lilims.contract": m.CONTRACT,
        "lilims.context": str(shapes.context),
        "lilims.rows": str(shapes.rows),
        "lilims.max_positions": str(spec.max_positions),
        "lilims.layers": f"{package.first} to {package.end - 1} of {len(spec.layers)}",
        "lilims.functions": json.dumps({f.name: f.tokens for f in shapes.functions}),
        "lilims.function_rows": json.dumps({f.name: f.rows for f in shapes.functions}),
        "lilims.vocab_size": str(spec.vocab_size),
        "lilims.positions": _positions(spec).model_dump_json(),
        "lilims.windows": json.dumps({"window": spec.window, "local_window": spec.local_window}),
        "lilims.tokens": tokens.model_dump_json(),
        "lilims.state": "kv_cache: K of layer l at 2l, V at 2l + 1",
        "lilims.minimum_os": "iOS 18, macOS 15",
        "lilims.mask_value": "-10000",
        "lilims.quantization": plan.title + (f" group {plan.group_size}" if plan.group_size else ""),
        "lilims.compute_units": plan.profile.compute_units,
    }


def compatible_runtime(made_with: str) -> str:
    """The versions of lilims that run what this one makes: from its minor version to below the next."""
    major, minor = re.findall(r"\d+", made_with)[:2]
    return f">={major}.{minor},<{major}.{int(minor) + 1}"


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


def _parts(shapes: Shapes) -> list[m.Part]:
    return [
        m.Part(package=name, first_layer=package.first, layers=package.end - package.first, functions=functions)
        for package in shapes.packages
        for name, functions in package.names(shapes.functions, split=shapes.options.split_functions).items()
    ]


def manifest_of(
    checkpoint: Checkpoint,
    spec: DecoderSpec,
    plan: Plan,
    shapes: Shapes,
    tensors: dict[str, m.TensorScheme],
    name: str,
    tokens: m.Tokens,
    folder: Path,
    embedding: m.HostEmbedding | None = None,
) -> m.Manifest:
    import coremltools
    import numpy

    total = parameters(spec)
    stored_bits = sum(t.bits * prod(t.shape) for t in tensors.values())
    return m.Manifest(
        name=name,
        licence=checkpoint.licence or _licence(checkpoint.folder),
        source=checkpoint.record,
        architecture=m.Architecture(
            model_type=spec.model_type,
            layers=len(spec.layers),
            hidden_size=spec.hidden_size,
            heads=spec.layers[0].attention.heads,
            kv_heads=spec.kv_heads,
            head_dim=spec.head_dim,
            vocab_size=spec.vocab_size,
            parameters=total,
        ),
        positions=_positions(spec),
        tokens=tokens,
        context=shapes.context,
        window=spec.window,
        local_window=spec.local_window,
        state=m.StateShape(shape=list(shapes.state(spec))),
        functions={f.name: m.FunctionShape(tokens=f.tokens, rows=f.rows, logits=f.logits) for f in shapes.functions},
        quantization=m.Quantization(
            scheme=plan.title,
            group_size=plan.group_size,
            bits_per_weight=round(stored_bits / total, 4),
            fp16_scale=spec.stream_scale,
            recipe=plan.wishes.recipe.sha256 if plan.wishes.recipe else None,
            imatrix=plan.wishes.imatrix.sha256 if plan.wishes.imatrix else None,
            calibration=plan.calibration,
            tensors=tensors,
        ),
        profile=plan.profile.name,
        compute_units=plan.profile.compute_units,
        compatible_runtime=compatible_runtime(version()),
        package=next(iter(_parts(shapes))).package,
        parts=_parts(shapes) if len(_parts(shapes)) > 1 else [],
        embedding=embedding,
        layout=shapes.options.layout,
        tools={"lilims": version(), "coremltools": coremltools.__version__, "numpy": numpy.__version__},
        files=m.describe_files(folder),
    )
