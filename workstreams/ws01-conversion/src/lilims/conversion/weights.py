"""From checkpoint tensors to stored ones: find, check the shape, pad, quantise; one tensor in memory at a time.

Knows roles, padding and policy (what is quantised at all). Must not know Core ML or a particular family.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import CheckpointError, UnsupportedModelError
from lilims.core.events import emit

from .architectures import Architecture
from .checkpoint import Checkpoint
from .quantize import Scheme, quantize
from .spec import DecoderSpec, TensorSource
from .stored import Quantized, Stored

__all__ = ["HEAD_ROWS", "Plan", "check_checkpoint", "padded", "stored_shape", "stream"]

HEAD_ROWS = 64  # odd last dimensions of logits come back garbled on some units
_IGNORED = ("rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")


@dataclass(frozen=True)
class Plan:
    """What was asked for: a scheme for matrices and its group size. Vectors, position tables and routers stay fp16."""

    scheme: Scheme
    group_size: int

    def scheme_of(self, role: str, shape: tuple[int, ...]) -> Scheme:
        """The scheme of one tensor."""
        return self.scheme if len(shape) == 2 and role != "positions" and "router" not in role else "fp16"


def padded(role: str, shape: tuple[int, ...], group_size: int) -> tuple[int, ...]:
    """The shape in which a tensor is stored: the vocabulary padded to 64, the MLP's width to the group size.

    Both paddings are zeros that change no result: rows behind the vocabulary are cut off by readers, and an MLP
    channel whose weights and biases are zero adds nothing (every activation here maps 0 to 0, or meets a zero weight).
    """
    kind = re.sub(r"^layers\.\d+\.", "", re.sub(r"experts\.\d+\.", "", role))
    axis, multiple = {
        "embedding": (0, HEAD_ROWS),
        "head": (0, HEAD_ROWS),
        "head.bias": (0, HEAD_ROWS),
        "mlp.gate.weight": (0, group_size),
        "mlp.gate.bias": (0, group_size),
        "mlp.up.weight": (0, group_size),
        "mlp.up.bias": (0, group_size),
        "mlp.down.weight": (1, group_size),
    }.get(kind, (0, 1))
    return tuple(-(-size // multiple) * multiple if i == axis else size for i, size in enumerate(shape))


def check_checkpoint(checkpoint: Checkpoint, architecture: Architecture, spec: DecoderSpec) -> dict[str, str]:
    """Finds every tensor that the spec needs and checks its shape, from headers alone.

    Returns:
        role → name in the checkpoint.

    Raises:
        CheckpointError: a tensor is missing or misshapen (named, with both shapes), or one is left over that the
            architecture does not use.
    """
    names = set(checkpoint.names)
    found: dict[str, str] = {}
    for role, shape in spec.roles():
        source = architecture.source(role)
        candidates = [prefix + source.name for prefix in architecture.prefixes] + [source.name]
        name = next((c for c in candidates if c in names), None)
        if name is None:
            raise CheckpointError(
                f"tensor {candidates[0]!r} is missing", where=checkpoint.folder, hint="fetch the checkpoint again"
            )
        stored, wanted = checkpoint.shape(name), stored_shape(spec, source, role, shape)
        if stored != wanted:
            raise CheckpointError(
                f"tensor {name!r} has shape {list(stored)}, the config says {list(wanted)}",
                where=checkpoint.folder,
                hint="config.json and the tensors are of different models",
            )
        found[role] = name
    head = {prefix + "lm_head.weight" for prefix in (*architecture.prefixes, "")} if spec.tied else set()
    if left := sorted(n for n in names - set(found.values()) - head if not n.endswith(_IGNORED)):
        raise UnsupportedModelError(
            f"tensor {left[0]!r} ({len(left)} in all) is not part of a {spec.model_type} decoder",
            where=checkpoint.folder,
            hint="its config has a feature that lilims would silently leave out; please report it",
        )
    return found


def _stack(spec: DecoderSpec, source: TensorSource, role: str) -> list[tuple[str, int]]:
    """Roles that share a tensor, in its order, each with its rows; `role` alone where none do."""
    shapes = dict(spec.roles_of_layer(role))
    if not source.stack:
        return [(role, shapes[role][0])]
    base, part = role.rsplit(".", 1)
    prefix = base.rsplit(".", 1)[0]
    names = [f"{prefix}.{other}.{part}" for other in source.stack]
    return [(name, shapes[name][0]) for name in names]


def stored_shape(spec: DecoderSpec, source: TensorSource, role: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a role's tensor has in the checkpoint, the roles that it is stacked with included."""
    wanted = (sum(rows for _, rows in _stack(spec, source, role)), *shape[1:])
    return wanted[::-1] if source.transpose else wanted


def _read(checkpoint: Checkpoint, spec: DecoderSpec, source: TensorSource, role: str, name: str) -> NDArray[np.float32]:
    """A role's tensor as [out, in], cut from what it is stacked with, its rows in the order that lilims wants."""
    values = checkpoint.tensor(name)
    if source.transpose:
        values = values.T
    stack = _stack(spec, source, role)
    before = sum(rows for _, rows in stack[: [r for r, _ in stack].index(role)])
    rows = dict(stack)[role]
    if source.by_head:
        heads = spec.layers[0].attention.heads
        by_head = values.reshape(heads, -1, *values.shape[1:])
        values = by_head[:, before // heads : (before + rows) // heads].reshape(rows, *values.shape[1:])
    else:
        values = values[before : before + rows]
    if source.interleaved:
        values = _to_halves(values, spec)
    return values + np.float32(source.add) if source.add else values


def _to_halves(values: NDArray[np.float32], spec: DecoderSpec) -> NDArray[np.float32]:
    """Rows of Q or K with neighbouring rotary pairs, so that pair i stands at i and i + rotary_dim / 2 of its head."""
    rotary = int((spec.rotary or {})["rotary_dim"])
    order = [*range(0, rotary, 2), *range(1, rotary, 2), *range(rotary, spec.head_dim)]
    return values.reshape(-1, spec.head_dim, *values.shape[1:])[:, order].reshape(values.shape)


def stream(
    checkpoint: Checkpoint, architecture: Architecture, spec: DecoderSpec, plan: Plan
) -> Iterator[tuple[str, Stored]]:
    """Yields every tensor in its stored form, reading the next one only when it is asked for.

    Emits `convert.tensor` events (role, scheme, bytes read) for progress.
    """
    names = check_checkpoint(checkpoint, architecture, spec)
    for role, shape in spec.roles():
        values = _read(checkpoint, spec, architecture.source(role), role, names[role])
        target = padded(role, shape, plan.group_size)
        if target != shape:
            wide = np.zeros(target, np.float32)
            wide[tuple(slice(0, size) for size in shape)] = values
            values = wide
        wanted = plan.scheme_of(role, shape)
        stored = quantize(np.ascontiguousarray(values), wanted, plan.group_size, name=names[role])
        fell_back = isinstance(stored, Quantized) and not (
            stored.label.startswith(wanted) and stored.group_size == plan.group_size
        )
        emit("convert.tensor", role=role, scheme=stored.label, bytes=values.nbytes, fell_back=fell_back)
        yield role, stored
