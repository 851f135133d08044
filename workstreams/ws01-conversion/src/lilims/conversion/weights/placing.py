"""Where the parts of a stored tensor lie in weight.bin; puts them there piece by piece.

Knows which arrays a form consists of. Must not know how values were chosen, nor MIL.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..stored import Dense, Indexed, Palettized, Stored
from .weight_file import WeightFile

__all__ = ["Part", "Placed", "outline", "parts_of", "place"]

INLINE = 10  # elements; coremltools keeps a smaller constant in the program itself


@dataclass(frozen=True)
class Part:
    """An array of a stored tensor: its element type, its shape, and the offset of its record in weight.bin.

    An array of less than ten elements has its `values` instead of an offset.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int | None
    values: NDArray[Any] | None = None


@dataclass(frozen=True)
class Placed:
    """A tensor whose parts are written. `form` is its stored form without values (`outline`)."""

    form: Stored
    parts: dict[str, Part]


def parts_of(stored: Stored) -> dict[str, tuple[str, NDArray[Any]]]:
    """The arrays that a form consists of, each with its element type; the first has an element for each weight.

    Shapes are those of the ops' inputs: a table is [groups of N, groups of K, 2^bits, values per index].
    """
    if isinstance(stored, Dense):
        return {"values": ("fp16", stored.values)}
    if isinstance(stored, Palettized):
        indices = (f"uint{stored.index_bits}", stored.indices)
        return {"indices": indices, "table": ("fp16", stored.table[:, None, :, None])}
    found: dict[str, tuple[str, NDArray[Any]]]
    if isinstance(stored, Indexed):
        indices = (f"uint{stored.index_bits}", stored.indices)
        found = {"indices": indices, "table": ("fp16", stored.table[:, None, :, None])}
    else:
        kind = "int" if stored.codes.dtype.kind == "i" else "uint"
        found = {"codes": (f"{kind}{stored.code_bits}", stored.codes)}
    found["scale"] = ("fp16", stored.scale)
    return found if stored.offset is None else {**found, "offset": ("fp16", stored.offset)}


def outline(piece: Stored, rows: int) -> Stored:
    """The form of a tensor of so many rows, of which `piece` holds some: the same, its arrays without memory."""

    def grown(array: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(np.zeros((), array.dtype), (len(array) * rows // piece.shape[0], *array.shape[1:]))

    values = {field.name: getattr(piece, field.name) for field in fields(piece)}
    arrays: dict[str, Any] = {name: grown(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    return replace(piece, **arrays)


def place(file: WeightFile, rows: int, pieces: Iterable[Stored]) -> Placed:
    """Writes a tensor of so many rows, given piece by piece: its first part as it comes, the smaller ones behind it."""
    pieces = iter(pieces)
    first = next(pieces)
    form = outline(first, rows)
    layout = parts_of(form)
    main = next(iter(layout))
    held: dict[str, list[NDArray[Any]]] = {name: [] for name in layout}
    parts: dict[str, Part] = {}
    with ExitStack() as stack:
        dtype, whole = layout[main]
        blob = stack.enter_context(file.blob(dtype, whole.shape)) if whole.size >= INLINE else None
        for piece in chain([first], pieces):
            for name, (_, values) in parts_of(piece).items():
                if name == main and blob is not None:
                    blob.write(values)
                else:
                    held[name].append(values)
    for name, (dtype, whole) in layout.items():
        if name == main and blob is not None:
            parts[name] = Part(dtype, whole.shape, blob.offset)
            continue
        values = held[name][0] if len(held[name]) == 1 else np.concatenate(held[name])
        assert values.shape == whole.shape
        inline = values.size < INLINE
        parts[name] = Part(dtype, whole.shape, None if inline else file.add(dtype, values), values if inline else None)
    return Placed(form, parts)
