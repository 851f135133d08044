"""Makes a residual stream small enough for fp16: the same logits from a stream that is s times as large.

Knows which tensors write the stream and which norms read it. Must not know checkpoints, schemes or Core ML.

A decoder's stream x is only ever read through norms, and these do not see its scale, but for eps: norm(s·x, s²·eps) is
norm(x, eps). So all that is added to the stream is multiplied by s, a power of two:

    embedding_scale                     · s      learned positions too; the table itself may be the head
    attention.o, mlp.down, their biases · s
    norms behind the blocks             eps · s², weight and bias · s
    norms that read the stream          eps · s²
    q, k, v, gate, up, router           / s      where a block reads the stream without a norm
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lilims.core.errors import QuantizationError, UsageError
from lilims.core.events import emit

from .spec import DecoderSpec, Layer, Norm

__all__ = ["Fp16Scale", "choose_scale", "factors", "read_scale", "rescaled"]

Fp16Scale = float | Literal["auto", "off"]

_LEAST = 12  # 2⁻¹² is the smallest factor
_TINY = 2.0**-24  # fp16's least number; LayerNorm's eps is written as it is
_WRITES = re.compile(r"attention\.o\..*|mlp\.(experts\.\d+\.)?down\..*|(attention|mlp)_output_norm\..*")
_ATTENTION_READS = re.compile(r"attention\.[qkv]\.weight")
_MLP_READS = re.compile(r"mlp\.(experts\.\d+\.)?(gate|up|router)\.weight")


def read_scale(wanted: str | float) -> Fp16Scale:
    """The option's value.

    Raises:
        UsageError: neither auto nor off, nor a power of two from 2⁻¹² to 1.
    """
    if wanted in ("auto", "off"):
        return "auto" if wanted == "auto" else "off"
    try:
        factor = float(wanted)
    except ValueError:
        factor = 0.0
    if factor not in {2.0**-n for n in range(_LEAST + 1)}:
        raise UsageError(
            f"--fp16-scale must be auto, off or a power of two from {2.0**-_LEAST:g} to 1, not {wanted!r}",
            hint="0.125, for one",
        )
    return factor


def rescaled(spec: DecoderSpec, factor: float) -> DecoderSpec:
    """The spec of a stream that is `factor` times as large; `factors` has what that does to its tensors."""
    if factor == 1.0:
        return spec
    return replace(
        spec,
        stream_scale=spec.stream_scale * factor,
        embedding_scale=spec.embedding_scale * factor,
        layers=tuple(_layer(layer, factor) for layer in spec.layers),
        final_norm=_reading(spec.final_norm, factor),
    )


def _layer(layer: Layer, factor: float) -> Layer:
    norms = ("attention_norm", "mlp_norm", "attention_output_norm", "mlp_output_norm")
    found = {name: _reading(norm, factor) for name in norms if (norm := getattr(layer, name)) is not None}
    return replace(layer, **found)  # type: ignore[arg-type]


def _reading(norm: Norm, factor: float) -> Norm:
    eps = norm.eps * factor**2
    return replace(norm, eps=max(eps, _TINY) if norm.kind == "layer" else eps)


def factors(spec: DecoderSpec) -> dict[str, float]:
    """What each tensor is multiplied by, by role; those that stay as they are are left out."""
    s = spec.stream_scale
    if s == 1.0:
        return {}
    found = {role: s for role, _ in spec.roles() if role == "positions"}
    for index, layer in enumerate(spec.layers):
        start = f"layers.{index}."
        for role in (role.removeprefix(start) for role, _ in spec.roles_of_layer(start)):
            if (factor := _factor(layer, role, s)) != 1.0:
                found[start + role] = factor
    return found


def _factor(layer: Layer, role: str, s: float) -> float:
    attention_bare = layer.attention_norm is None
    mlp_bare = layer.mlp_norm is None and (attention_bare or not layer.parallel)
    if _WRITES.fullmatch(role):
        return s
    bare = (attention_bare and _ATTENTION_READS.fullmatch(role)) or (mlp_bare and _MLP_READS.fullmatch(role))
    return 1 / s if bare else 1.0


def choose_scale(convert: Callable[[Path, float], object], out: Path) -> float:
    """The largest factor at which the model does not overflow on random tokens, halved; 1 where none is needed.

    Args:
        convert: converts into a folder with a factor.
        out: beside it models are made and measured; they are removed.

    Raises:
        QuantizationError: it overflows at every factor: not in the stream, then.
    """
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent if out.parent.is_dir() else None) as name:

        def overflow(power: int) -> str:
            folder = Path(name) / f"{power}"
            convert(folder, 2.0**-power)
            return _first_overflow(folder)

        if not overflow(0):
            factor = 1.0
        else:
            low, high = 0, _LEAST - 1  # one more is the margin
            if where := overflow(high):
                raise QuantizationError(
                    f"{where} overflows fp16 however small the residual stream is",
                    hint="--fp16-scale off converts it as it is; `lilims lint` names where it overflows",
                )
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if overflow(middle) else (low, middle)
            factor = 2.0 ** -(high + 1)
    emit("convert.fp16_scale", factor=factor)
    return factor


def _first_overflow(folder: Path) -> str:
    """Function and op of the first overflow on random tokens; empty where there is none."""
    from lilims.core.manifest import read_manifest

    from .lint.measure import measure

    measured = measure(folder, read_manifest(folder), decode_only=True).values()
    return next((f"{function}/{op}" for found in measured for function, op in found.overflows.items()), "")
