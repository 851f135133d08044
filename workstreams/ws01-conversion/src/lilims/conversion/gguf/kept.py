"""A GGUF tensor in a form of Core ML: its codes as they are, or what has to stand in for them.

Knows which form holds which type, and how far off it is. Must not know names, roles or Core ML's program.

The form is one `constexpr_blockwise_shift_scale`, w = (code - offset) · scale, with fp16 scale and offset. Of ggml's
w = code · scale + bias it keeps

    scale    fp16 in the types of 32 values: the same bits. In K types a product of 17 bits, rounded to fp16's 11.
    offset   -bias / scale, rounded to fp16. It has fewer bits behind the point the larger it is.
    flat     groups with scale 0 and a bias: all their values are the bias. Their codes say nothing, so they become 0,
             the scale |bias| and the offset ∓1.

The compact form has in place of codes their places in a table of all codes there can be, where such a place takes less
room than a code. Core ML has codes of 4 and 8 bits only, but places of 1, 2, 3, 4, 6 and 8 (`constexpr_lut_to_dense`).

Errors are told in steps: the difference between two neighbouring codes of a group (for flat groups, their value).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import CheckpointError, MissingDependencyError

from ..quantize import Scheme, quantize
from ..sources.safetensors import widened
from ..stored import Dense, Indexed, Quantized, Stored
from .blocks import BLOCKS, BlockType
from .header import TYPES, TensorEntry

__all__ = ["Kept", "padded_to", "read_values", "survey"]

_DENSE = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}
_AGAIN = "fetch the file again, or quantise the model again"
_TOLERATED = 0.5  # steps: what rounding to codes may have cost in the first place
_PLACE_BITS = (1, 2, 3, 4, 6, 8)
_INT8 = Scheme("int", 8, group=32)
_AT_ONCE = 1 << 22  # bytes surveyed at once
_BLOCK_BYTES = {name: size for name, _, size in TYPES.values()}

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Kept:
    """A matrix in the form in which it is going to be stored.

    Attributes:
        entry: where it lies.
        name: its name, for errors.
        form: its codes, or fp16 or int8 values in their stead.
        error_steps: 0 where the form holds the very values; else the most that one may be off by, in steps.
        compact: codes are stored as places in a table, table and scale in two ops.
    """

    entry: TensorEntry
    name: str
    form: Literal["codes", "fp16", "int8"]
    error_steps: float
    compact: bool = False

    def compacted(self) -> Kept:
        """The same in the compact form of its type, where that is smaller."""
        kind = BLOCKS.get(self.entry.type)
        smaller = self.form == "codes" and kind is not None and _place_bits(kind) < kind.bits
        return replace(self, compact=True) if smaller else self

    @property
    def lost(self) -> bool:
        """Whether the file has codes that the form has not."""
        return self.form != "codes" and self.entry.type not in _DENSE

    @property
    def scheme(self) -> Scheme:
        """The scheme that comes to the same form."""
        if self.form == "codes":
            kind = BLOCKS[self.entry.type]
            if self.compact:
                return Scheme("lut", _place_bits(kind), kind.minimum, kind.group, method="kept")
            return Scheme("int", kind.bits, kind.minimum, kind.group, method="kept")
        return Scheme("fp16") if self.form == "fp16" else _INT8

    def read(self, first: int, last: int, order: NDArray[np.intp] | None = None) -> Stored:
        """Rows from `first` up to `last`, or those that `order` counts from there.

        Raises:
            CheckpointError: the file cannot be read, or the values are not finite.
            QuantizationError: the values do not fit fp16.
        """
        if self.form == "codes":
            raw = _rows(self.entry, first, last)
            unpacked = _indices if self.compact else _codes
            return unpacked(raw if order is None else raw[order], self.entry.type)
        values = read_values(self.entry, self.name, first, last)
        return quantize(values if order is None else values[order], self.scheme, name=self.name)


def survey(entry: TensorEntry, name: str) -> Kept:
    """Chooses the form of a matrix, from its type and its scales.

    Codes are kept where every value comes out within half a step, or where fp16 values would be no nearer.

    Raises:
        CheckpointError: a scale is infinite or not a number.
    """
    kind = BLOCKS.get(entry.type)
    if entry.type in _DENSE:
        return Kept(entry, name, "fp16", 0.0 if entry.type == "F16" else 0.5)
    if kind is None:
        return Kept(entry, name, "int8", 0.5)
    worst, dense = 0.0, 0.0
    rows = entry.shape[0]
    step = max(1, _AT_ONCE // entry.row_bytes)
    for first in range(0, rows, step):
        blocks = _blocks(_rows(entry, first, min(first + step, rows)), entry.type)
        with np.errstate(invalid="ignore"):
            scale, bias = kind.scales(blocks)
        if not np.isfinite(scale).all() or not (bias is None or np.isfinite(bias).all()):
            raise CheckpointError(f"tensor {name!r} holds NaN or infinite scales", where=entry.path, hint=_AGAIN)
        worst, dense = max(worst, _error(kind, blocks, scale, bias)), max(dense, _error_as_fp16(kind, scale, bias))
    if worst <= _TOLERATED or worst <= dense:
        return Kept(entry, name, "codes", worst)
    return Kept(entry, name, "fp16", dense)


def read_values(entry: TensorEntry, name: str, first: int, last: int) -> Floats:
    """Rows of a tensor as float32: to the last bit what ggml makes of them.

    Raises:
        CheckpointError: the file cannot be read, the type holds no weights, or a value is not finite.
        MissingDependencyError: only the package `gguf` can unpack the type.
    """
    raw = _rows(entry, first, last)
    with np.errstate(invalid="ignore", over="ignore"):
        if entry.type in _DENSE:
            values = widened(raw.view(_DENSE[entry.type]), entry.type)
        elif entry.type in BLOCKS:
            values = BLOCKS[entry.type].dequantize(_blocks(raw, entry.type))
        else:
            values = _by_gguf(raw, entry, name)
    if not np.isfinite(values).all():
        raise CheckpointError(f"tensor {name!r} holds NaN or infinite values", where=entry.path, hint=_AGAIN)
    return values.reshape(last - first, *entry.shape[1:])


def _by_gguf(raw: NDArray[np.uint8], entry: TensorEntry, name: str) -> Floats:
    if entry.type.startswith("I") and not entry.type.startswith("IQ"):
        raise CheckpointError(
            f"tensor {name!r} is of whole numbers ({entry.type}), not of weights", where=entry.path, hint=_AGAIN
        )
    try:
        from gguf import GGMLQuantizationType, quants
    except ImportError as exc:
        raise MissingDependencyError(
            f"tensors of type {entry.type} need the package gguf",
            where=entry.path,
            hint="pip install 'lilims-conversion[gguf]'",
        ) from exc
    values: Floats = quants.dequantize(np.ascontiguousarray(raw), GGMLQuantizationType[entry.type])
    return values


def _rows(entry: TensorEntry, first: int, last: int) -> NDArray[np.uint8]:
    """Bytes of rows, [rows, bytes of one], mapped while the array lives. Higher dimensions lie within a row."""
    size = entry.bytes // entry.shape[0]
    if last <= first:
        return np.zeros((0, size), np.uint8)
    try:
        return np.memmap(entry.path, np.uint8, "r", entry.offset + first * size, (last - first, size))
    except (OSError, ValueError) as exc:
        raise CheckpointError(f"cannot be read: {exc}", where=entry.path, hint=_AGAIN) from exc


def _blocks(raw: NDArray[np.uint8], label: str) -> NDArray[np.uint8]:
    return np.asarray(raw).reshape(-1, _BLOCK_BYTES[label])


def padded_to(shape: tuple[int, ...], stored: Stored) -> Stored:
    """A matrix in the same form, widened by zeros on the right and below."""
    below, right = shape[0] - stored.shape[0], shape[1] - stored.shape[1]
    if not below and not right:
        return stored
    if isinstance(stored, Dense):
        return Dense(np.pad(stored.values, ((0, below), (0, right))))
    assert isinstance(stored, (Quantized, Indexed)) and right % stored.group_size == 0
    grid = ((0, below), (0, right // stored.group_size))
    scale = np.pad(stored.scale, grid)
    offset = None if stored.offset is None else np.pad(stored.offset, grid)
    if isinstance(stored, Indexed):  # any place will do: the scale is 0
        indices = np.pad(stored.indices, ((0, below), (0, right)))
        return replace(stored, indices=indices, scale=scale, offset=offset)
    codes: NDArray[Any] = np.pad(stored.codes, ((0, below), (0, right)))
    return replace(stored, codes=codes, scale=scale, offset=offset)


# -- codes, scales and offsets -----------------------------------------------------------------------------------------


def _grid(scale: Floats, bias: Floats | None) -> tuple[Halves, Halves | None, NDArray[np.bool_] | None]:
    """fp16 scales and offsets, and which groups are flat. A scale beyond fp16 becomes 0, to be found as an error."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        if bias is None:
            halves = scale.astype(np.float16)
            return np.where(np.isfinite(halves), halves, np.float16(0)), None, None
        flat = (scale == 0) & (bias != 0)
        halves = np.where(flat, np.abs(bias), scale).astype(np.float16)
        offset = np.where(flat, -np.sign(bias), np.where(scale == 0, 0, -bias / scale)).astype(np.float16)
    finite = np.isfinite(halves) & np.isfinite(offset)
    zero = np.float16(0)
    return np.where(finite, halves, zero), np.where(finite, offset, zero), flat


def _codes(raw: NDArray[np.uint8], label: str) -> Quantized:
    kind, blocks, rows = BLOCKS[label], _blocks(raw, label), len(raw)
    codes: NDArray[Any] = kind.codes(blocks)
    scale, offset, flat = _grid(*kind.scales(blocks))
    if flat is not None and flat.any():
        codes.reshape(*flat.shape, kind.group)[flat] = 0
    offset = None if offset is None else offset.reshape(rows, -1)
    return Quantized(codes.reshape(rows, -1), scale.reshape(rows, -1), kind.bits, offset)


def _place_bits(kind: BlockType) -> int:
    """Bits of a place among all codes of a type, as Core ML has them."""
    return next(bits for bits in _PLACE_BITS if 1 << bits >= len(kind.levels))


def _indices(raw: NDArray[np.uint8], label: str) -> Indexed:
    """As `_codes`, with places in the table of the type's codes, which zeros fill up, instead of codes."""
    levels = BLOCKS[label].levels
    table = np.zeros((1, 1 << _place_bits(BLOCKS[label])), np.float16)
    table[0, : len(levels)] = levels
    place_of = np.zeros(256, np.uint8)
    for place in reversed(range(len(levels))):  # of two that are equal (MXFP4's zeros) the first
        place_of[levels[place]] = place  # a code below 0 counts from the end, as its byte does
    safe = _codes(raw, label)
    return Indexed(place_of[safe.codes.view(np.uint8)], table, safe.scale, safe.offset)


def _error(kind: BlockType, blocks: NDArray[np.uint8], scale: Floats, bias: Floats | None) -> float:
    """The most that a value of these blocks can be off by in the form of codes, in steps."""
    halves, offset, flat = _grid(scale, bias)
    exact, stored = scale.astype(np.float64), halves.astype(np.float64)
    shift = 0.0 if bias is None else bias.astype(np.float64)
    zero = 0.0 if offset is None else offset.astype(np.float64)
    ends = (kind.low, kind.high)
    off = np.max([np.abs((end - zero) * stored - (end * exact + shift)) for end in ends], axis=0)
    step = np.abs(exact)
    if flat is not None and offset is not None:
        off = np.where(flat, np.abs(-zero * stored - shift), off)
        step = np.where(flat, np.abs(shift), step)
    lost = (halves == 0) & (scale != 0)
    if bias is None and lost.any():  # a scale that fp16 has not does no harm where all codes are 0
        silent = ~kind.codes(blocks).reshape(*scale.shape, kind.group).any(axis=2)
        off = np.where(silent, 0, off)
    return float(np.max(off / np.where(step == 0, 1, step), initial=0.0))


def _error_as_fp16(kind: BlockType, scale: Floats, bias: Floats | None) -> float:
    """The same for values in fp16: half of the spacing at the largest one that codes can make."""
    exact = np.abs(scale.astype(np.float64))
    shift = 0.0 if bias is None else bias.astype(np.float64)
    largest = np.max([np.abs(end * scale.astype(np.float64) + shift) for end in (kind.low, kind.high)], axis=0)
    spacing = np.maximum(largest * 2.0**-11, 2.0**-25)
    return float(np.max(np.where(exact == 0, 0, spacing) / np.where(exact == 0, 1, exact), initial=0.0))
