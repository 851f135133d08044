"""Where a model's tensors end when that is not one weight.bin: several packages, a file of the embedding.

Knows files: a finished weight.bin from which tensors are taken, and what they are put into. Must not know how tensors
are made, nor MIL. All tensors are written to one file first, by which a conversion can go on after an interruption.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core import manifest as m
from lilims.runtime.portable.blob import unpack

from .stored import Dense, Palettized, Quantized
from .weights.placing import Part, Placed
from .weights.weight_file import ALIGNMENT, BITS, WeightFile

__all__ = ["EMBEDDING_FILE", "bytes_of", "separate_functions", "take_over", "write_embedding"]

EMBEDDING_FILE = "embedding.bin"
_STEP = 3 << 20  # bytes or elements at once; whole elements of 3 and 6 bits too
_ROWS = 32  # whole bytes of any sub-byte type


def bytes_of(placed: Placed) -> int:
    """Bytes that a tensor takes in a weight.bin, records included."""
    return sum(
        (prod(part.shape) * BITS[part.dtype] + 7) // 8 + 2 * ALIGNMENT
        for part in placed.parts.values()
        if part.offset is not None
    )


def take_over(source: Path, target: WeightFile, placed: Mapping[str, Placed]) -> dict[str, Placed]:
    """Copies tensors of a weight.bin to another; returns their places there."""
    found: dict[str, Placed] = {}
    with source.open("rb") as file:
        for role, tensor in placed.items():
            parts: dict[str, Part] = {}
            for name, part in tensor.parts.items():
                if part.offset is None:
                    parts[name] = part
                    continue
                left = (prod(part.shape) * BITS[part.dtype] + 7) // 8
                file.seek(part.offset + ALIGNMENT)
                with target.blob(part.dtype, part.shape) as blob:
                    while left:
                        raw = np.frombuffer(file.read(min(left, _STEP)), np.uint8)
                        if not len(raw):
                            raise OSError(errno.EIO, "ends before its tensors", str(source))
                        blob.copy(raw)
                        left -= len(raw)
                parts[name] = replace(part, offset=blob.offset)
            found[role] = replace(tensor, parts=parts)
    return found


def write_embedding(source: Path, placed: Placed, path: Path) -> m.HostEmbedding:
    """Writes a tensor of a weight.bin as a file of rows (`lilims.runtime.embedding` reads it).

    Tables are written as the fp16 values that they stand for.
    """
    form = placed.form
    rows, columns = form.shape
    with path.open("wb") as file:
        for piece in _row_pieces(source, placed, max(_ROWS, _STEP // columns // _ROWS * _ROWS)):
            file.write(np.ascontiguousarray(piece).data)
    if not isinstance(form, Quantized):
        return m.HostEmbedding(file=path.name, rows=rows, columns=columns, codes="fp16")
    codes: Any = placed.parts["codes"].dtype  # one of those that the manifest knows, which checks it
    return m.HostEmbedding(
        file=path.name,
        rows=rows,
        columns=columns,
        codes=codes,
        group_size=form.group_size,
        offset=form.offset is not None,
    )


def _row_pieces(source: Path, placed: Placed, step: int) -> Iterator[NDArray[np.uint8]]:
    """The rows of the file, as bytes [rows, bytes of a row], `step` at a time."""
    form, parts = placed.form, placed.parts
    count = form.shape[0]
    raw = {name: _raw(source, part) for name, part in parts.items()}
    if isinstance(form, Palettized):
        tables = raw["table"].view("<f2").reshape(form.table.shape)
        for first in range(0, count, step):
            last = min(first + step, count)
            shape = (last - first, form.shape[1])
            bits = first * form.shape[1] * form.index_bits // 8, -(-last * form.shape[1] * form.index_bits // 8)
            indices = unpack(raw["indices"][bits[0] : bits[1]], f"uint{form.index_bits}", shape)
            group = np.arange(first, last) // (count // len(tables))
            yield np.ascontiguousarray(tables[group[:, None], indices]).view(np.uint8)
        return
    order = ("values",) if isinstance(form, Dense) else ("codes", "scale", "offset")
    wide = [raw[name].reshape(count, -1) for name in order if name in raw]
    for first in range(0, count, step):
        yield np.concatenate([part[first : first + step] for part in wide], axis=1)


def _raw(source: Path, part: Part) -> NDArray[Any]:
    """The bytes of an array in a weight.bin, mapped."""
    if part.values is not None:
        return np.ascontiguousarray(part.values).reshape(-1).view(np.uint8)
    size = (prod(part.shape) * BITS[part.dtype] + 7) // 8
    assert part.offset is not None
    return np.memmap(source, np.uint8, "r", offset=part.offset + ALIGNMENT, shape=(size,))


def separate_functions(package: Path, targets: Mapping[str, str]) -> None:
    """Replaces a package by one for each of its functions, beside it. Their weights are one file, by hard links.

    Where the file system has no links the weights are copied.

    Args:
        targets: name of the new package → its function.
    """
    from .emit.program import only_function

    for name, function in targets.items():
        shutil.copytree(package, package.with_name(name), copy_function=_link)
        only_function(package.with_name(name), function)
    shutil.rmtree(package)


def _link(source: str, target: str) -> None:
    """Links weights, copies all other files."""
    if source.endswith("weight.bin"):
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    shutil.copyfile(source, target)
