"""Reads safetensors files: a checked header, tensors as mapped arrays.

Knows the file format (https://huggingface.co/docs/safetensors, "Format"). Must not know what a tensor is for.
The `safetensors` package is not used here: its numpy frontend copies and refuses bfloat16.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import CheckpointError

__all__ = ["SafetensorsFile", "TensorEntry", "widened"]

_AGAIN = "fetch the checkpoint again, all files of it"
_HEADER_LIMIT = 100_000_000  # bytes; the limit of the reference implementation
_DTYPES: dict[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: safetensors dtype, shape, first and last byte behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """A safetensors file. The data is mapped, never read as a whole.

    Raises:
        CheckpointError: the file is truncated or its header is not as the format says (the key is named).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                prefix = file.read(8)
                length = int.from_bytes(prefix, "little")
                if len(prefix) < 8 or length > min(_HEADER_LIMIT, size - 8):
                    raise self._error("truncated or not a safetensors file: the header runs past the end of the file")
                header = file.read(length)
        except (OSError, ValueError) as exc:  # ValueError: a name from an index with a zero byte
            raise CheckpointError(f"cannot be read: {getattr(exc, 'strerror', exc)}", where=path, hint=_AGAIN) from exc
        self._offset = 8 + length
        self.metadata: dict[str, str] = {}
        self.entries = self._parse(header, size - self._offset)

    def _error(self, message: str) -> CheckpointError:
        return CheckpointError(message, where=self.path, hint=_AGAIN)

    def _parse(self, header: bytes, available: int) -> dict[str, TensorEntry]:
        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            if len(dict(pairs)) != len(pairs):
                names = [name for name, _ in pairs]
                raise self._error(f"the header's key {max(names, key=names.count)!r} stands twice")
            return dict(pairs)

        try:
            raw = json.loads(header.decode("utf-8"), object_pairs_hook=unique)
        except (ValueError, RecursionError) as exc:
            raise self._error(f"the header is not valid JSON: {exc}") from exc
        if not isinstance(raw, dict):
            raise self._error("the header is not an object")
        self.metadata = raw.pop("__metadata__", None) or {}
        entries = {name: self._entry(name, value, available) for name, value in raw.items()}
        end = 0
        for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
            if entry.begin < end:
                raise self._error(f"tensor {name!r} overlaps another")
            end = entry.end
        return entries

    def _entry(self, name: str, value: Any, available: int) -> TensorEntry:
        try:
            dtype, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
            integers = all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, begin, end))
        except (KeyError, TypeError, ValueError) as exc:
            raise self._error(f"tensor {name!r}: its entry lacks dtype, shape or data_offsets") from exc
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise self._error(f"tensor {name!r}: unknown dtype {dtype!r}")
        if not integers or len(shape) > 8 or not begin <= end <= available:
            raise self._error(f"tensor {name!r}: its shape or offsets lie outside the file")
        if math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize != end - begin:
            raise self._error(f"tensor {name!r}: shape {list(shape)} of {dtype} does not fill {end - begin} bytes")
        return TensorEntry(dtype, shape, begin, end)

    def tensor(self, name: str, rows: slice | None = None) -> NDArray[Any]:
        """A tensor's values, or those of some rows of it, as a mapped, read-only array of the file's dtype.

        Only the pages of those rows are mapped, and only while the array lives. bfloat16 is uint16, the high half of a
        float32 (`widened` knows that).
        """
        entry = self.entries[name]
        dtype = np.dtype(_DTYPES[entry.dtype])
        shape, begin = entry.shape, self._offset + entry.begin
        if rows is not None:
            first, last, _ = rows.indices(shape[0])
            begin += first * math.prod(shape[1:]) * dtype.itemsize
            shape = (max(0, last - first), *shape[1:])
        if math.prod(shape) == 0:
            return np.zeros(shape, dtype)
        return np.memmap(self.path, dtype, "r", begin, shape)


def widened(values: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """A file's values of a floating-point `dtype` as float32 (exactly, but for F64), in memory of their own.

    float16 by shifting its exponent and fraction into a float32's and multiplying by 2^112, the ratio of the two
    formats' smallest exponents: four times as fast as numpy's cast. Infinities and NaN are left to that.
    """
    values = np.asarray(values)
    if dtype == "BF16":
        high: NDArray[np.uint32] = np.left_shift(values, 16, dtype=np.uint32)
        return high.view(np.float32)
    if dtype != "F16" or (values.view(np.uint16) & np.uint16(0x7C00)).max(initial=0) == 0x7C00:
        return np.array(values, dtype=np.float32)
    bits = values.view(np.int16).astype(np.int32)  # the sign fills the high half
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)  # sign, five bits of exponent, ten of fraction
    wide = bits.view(np.float32)
    return np.multiply(wide, np.float32(2.0**112), out=wide)
