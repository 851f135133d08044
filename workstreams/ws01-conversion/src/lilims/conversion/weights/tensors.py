"""From checkpoint tensors to stored ones: find, check the shape, pad, quantise; some rows of a tensor at a time.

Knows roles, padding and policy (what is quantised at all). Must not know Core ML or a particular family.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import CheckpointError, UnsupportedModelError

from ..architectures import Architecture
from ..fp16_scale import factors
from ..gguf.kept import Kept, padded_to
from ..policy.plan import Plan
from ..quantize import quantize
from ..sources.checkpoint import Checkpoint
from ..spec import DecoderSpec, TensorSource
from ..stored import Stored
from .streaming import Piece, Tensor

__all__ = ["HEAD_ROWS", "PIECE", "check_checkpoint", "padded", "pieces", "stored_shape", "whole"]

HEAD_ROWS = 64  # odd last dimensions of logits come back garbled on some units
PIECE = 1 << 19  # elements of a piece
_ROWS = 32  # pieces are multiples of that many: whole bytes of any sub-byte type, whole groups that share a table
_IGNORED = ("rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")


class Source(Protocol):
    """What is known of a checkpoint whose headers were read (`lilims.conversion.prepare.Prepared`)."""

    @property
    def checkpoint(self) -> Checkpoint: ...
    @property
    def architecture(self) -> Architecture: ...
    @property
    def spec(self) -> DecoderSpec: ...
    @property
    def names(self) -> Mapping[str, str]: ...


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
    if source.row is not None:
        heads = spec.layers[0].attention
        return (heads.heads if ".q_norm." in role else heads.kv_heads, *shape)
    wanted = (sum(rows for _, rows in _stack(spec, source, role)), *shape[1:])
    return wanted[::-1] if source.transpose else wanted


def _rows(spec: DecoderSpec, source: TensorSource, role: str) -> range | NDArray[np.intp]:
    """Where a role's rows lie in its tensor (as [out, in]), in the order that lilims wants."""
    stack = _stack(spec, source, role)
    before = sum(rows for _, rows in stack[: [r for r, _ in stack].index(role)])
    count = dict(stack)[role]
    if not source.by_head and not source.interleaved:
        return range(before, before + count)
    rows = np.arange(before, before + count)
    if source.by_head:
        heads = spec.layers[0].attention.heads
        by_head = np.arange(sum(rows for _, rows in stack)).reshape(heads, -1)
        rows = by_head[:, before // heads : (before + count) // heads].reshape(-1)
    return _to_halves(rows, spec) if source.interleaved else rows


def _to_halves(rows: NDArray[np.intp], spec: DecoderSpec) -> NDArray[np.intp]:
    """Rows of Q or K with neighbouring rotary pairs, so that pair i stands at i and i + rotary_dim / 2 of its head."""
    rotary = int((spec.rotary or {})["rotary_dim"])
    order = [*range(0, rotary, 2), *range(1, rotary, 2), *range(rotary, spec.head_dim)]
    return rows.reshape(-1, spec.head_dim)[:, order].reshape(-1)


@dataclass(frozen=True)
class _Reader:
    """Reads rows of one role, as float32, padded to the shape in which it is stored."""

    checkpoint: Checkpoint
    name: str
    source: TensorSource
    rows: range | NDArray[np.intp]
    target: tuple[int, ...]
    factor: float = 1.0

    def __call__(self, first: int, last: int) -> NDArray[np.float32]:
        rows = self.rows[first:last]
        if self.source.transpose:
            values = self.checkpoint.tensor(self.name).T[np.asarray(rows)]
        elif self.source.row is not None:
            values = self.checkpoint.tensor(self.name, slice(self.source.row, self.source.row + 1))[0][np.asarray(rows)]
        elif isinstance(rows, range):
            values = self.checkpoint.tensor(self.name, slice(rows.start, rows.stop))
        else:
            low = int(rows.min(initial=0))
            values = self.checkpoint.tensor(self.name, slice(low, int(rows.max(initial=-1)) + 1))[rows - low]
        if self.source.add:
            values += np.float32(self.source.add)
        if self.factor != 1.0:
            values = values * np.float32(self.factor)
        shape = (last - first, *self.target[1:])
        if values.shape != shape:
            wide = np.zeros(shape, np.float32)
            wide[tuple(slice(0, size) for size in values.shape)] = values
            values = wide
        return np.ascontiguousarray(values)


def _reader(given: Source, plan: Plan, role: str, shape: tuple[int, ...]) -> _Reader:
    source, name, factor = given.architecture.source(role), given.names[role], factors(given.spec).get(role, 1.0)
    target = padded(role, shape, plan.multiple_of(role))
    return _Reader(given.checkpoint, name, source, _rows(given.spec, source, role), target, factor)


def whole(given: Source, plan: Plan, role: str) -> NDArray[np.float32]:
    """A tensor in the shape in which it is stored, before it is quantised."""
    reader = _reader(given, plan, role, dict(given.spec.roles_of_layer(role))[role])
    return reader(0, reader.target[0])


def pieces(given: Source, plan: Plan, *, skip: Container[str] = ()) -> Iterator[Piece]:
    """Every tensor of a checkpoint but those to skip, cut into runs of rows that one thread reads and quantises.

    A tensor stays whole where one table serves all of it, or where its rows are columns in the file.
    """
    for role, shape in given.spec.roles():
        if role in skip:
            continue
        reader = _reader(given, plan, role, shape)
        target, wanted = reader.target, plan.scheme_of(role)
        taken = wanted.fitted(target)
        width = prod(target[1:])
        step = max(_ROWS, PIECE // width // _ROWS * _ROWS)
        if reader.source.transpose or (taken.kind == "lut" and taken.rows is None):
            step = target[0]
        tensor = Tensor(role, target, fell_back=taken != wanted)
        kept, importance = plan.kept.get(role), plan.importance_of(role, target[-1])
        if role in plan.made:
            yield Piece(tensor, prod(target), partial(plan.made.__getitem__, role))
            continue
        for first in range(0, target[0], step):
            last = min(first + step, target[0])
            if kept is not None:
                yield Piece(tensor, (last - first) * width, partial(_make_kept, reader, kept, first, last))
                continue
            make = partial(
                _make, reader, first, last, partial(quantize, scheme=taken, name=reader.name, importance=importance)
            )
            yield Piece(tensor, (last - first) * width, make)


def _make(reader: _Reader, first: int, last: int, store: Callable[[NDArray[np.float32]], Stored]) -> Stored:
    return store(reader(first, last))


def _make_kept(reader: _Reader, kept: Kept, first: int, last: int) -> Stored:
    """The same rows as the reader's, codes and all."""
    rows = reader.rows[first:last]
    shape = (last - first, *reader.target[1:])
    if isinstance(rows, range):
        return padded_to(shape, kept.read(rows.start, rows.stop))
    low = int(rows.min(initial=0))
    return padded_to(shape, kept.read(low, int(rows.max(initial=-1)) + 1, rows - low))
