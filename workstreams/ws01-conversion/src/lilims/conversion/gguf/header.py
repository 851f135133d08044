"""The header of a GGUF file: metadata, and where tensors lie.

Knows the layout, versions 2 and 3, little-endian. Must not know what a key or a tensor means.
Source: `docs/gguf.md` of ggml-org/ggml.

    magic "GGUF", uint32 version, uint64 tensors, uint64 keys
    each key     string, uint32 type, value        string = uint64 bytes, UTF-8; array = uint32 type, uint64 n, values
    each tensor  string, uint32 n, uint64 [n] dimensions (innermost first), uint32 type, uint64 offset
    padding to `general.alignment` (32 unless a key says otherwise), then the tensors' bytes

Every count and length is checked against the bytes that are left before anything of that size is read or allocated.
The package `gguf` has a reader too. It builds numpy views value by value, which takes seconds for a vocabulary, and
follows any count that a damaged file has; tests hold this one against it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lilims.core.errors import CheckpointError, UnsupportedModelError

__all__ = ["MAGIC", "TYPES", "Header", "TensorEntry", "read_header"]

MAGIC = b"GGUF"
# id: name, elements of a block, bytes of a block. Source: `ggml_type` and `type_traits` of ggml.
TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
_NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_STRING, _ARRAY = 8, 9
_LONGEST = 1 << 24  # bytes of a string
_MOST = 1 << 22  # elements of an array; the largest vocabularies have a tenth
_AGAIN = "fetch the file again; if it is intact, it is no GGUF file that llama.cpp would load either"


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies.

    Attributes:
        path: the file.
        type: ggml's name of its type.
        shape: outermost dimension first.
        offset: its first byte in the file.
        bytes: how many there are.
    """

    path: Path
    type: str
    shape: tuple[int, ...]
    offset: int
    bytes: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one run along the last dimension."""
        return self.bytes // prod(self.shape[:-1])


@dataclass(frozen=True)
class Header:
    """One file's metadata and tensors. Arrays of numbers are numpy arrays, arrays of strings are lists."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorEntry]


def read_header(path: Path) -> Header:
    """Reads the header of `path`.

    Raises:
        CheckpointError: no such file, or it is damaged (what and where is told).
        UnsupportedModelError: a version, byte order or tensor type that lilims does not read.
    """
    try:
        size = path.stat().st_size
        if size < 24:
            raise CheckpointError(f"has {size} bytes, too few for a GGUF file", where=path, hint=_AGAIN)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).header()
    except OSError as exc:
        raise CheckpointError(f"cannot be read: {exc.strerror or exc}", where=path, hint="check the path") from exc


class _Reader:
    """Walks through the header; `at` is the next byte."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.at = 0

    def header(self) -> Header:
        if self._take(4) != MAGIC:
            raise self._error("does not start with the letters GGUF")
        version = self._number("<I")
        if version not in (2, 3):
            big = int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3)
            raise UnsupportedModelError(
                "is a big-endian GGUF file" if big else f"is GGUF version {version}; lilims reads 2 and 3",
                where=self.path,
                hint="convert the model again with a recent llama.cpp",
            )
        tensors, keys = self._number("<Q"), self._number("<Q")
        self._count(tensors, 24, "tensors")
        self._count(keys, 13, "keys")
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = self._string("a key")
            if key in metadata:
                raise self._error(f"key {key!r} stands twice")
            metadata[key] = self._value(self._number("<I"), key)
        raw = [self._tensor() for _ in range(tensors)]
        return Header(self.path, metadata, self._placed(raw, metadata))

    def _error(self, message: str) -> CheckpointError:
        return CheckpointError(f"{message} (byte {self.at} of the header)", where=self.path, hint=_AGAIN)

    def _take(self, count: int) -> bytes:
        if count > self.size - self.at:
            raise self._error(f"ends where {count} more bytes should be")
        self.at += count
        return self.data[self.at - count : self.at]

    def _number(self, form: str) -> int:
        (value,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return int(value)

    def _count(self, count: int, least: int, what: str, most: int = _MOST) -> None:
        """Refuses a count of things of at least so many bytes each that the rest of the file cannot hold."""
        if count > most or count * least > self.size - self.at:
            raise self._error(f"claims to hold {count} {what}, more than can be")

    def _string(self, what: str) -> str:
        length = self._number("<Q")
        self._count(length, 1, f"bytes of {what}", _LONGEST)
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError as exc:
            raise self._error(f"{what} is not UTF-8: {exc.reason}") from exc

    def _value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self._string(f"{key!r}")
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _NUMBERS:
            raise self._error(f"{key!r} has the unknown type {kind}")
        return self._numbers(kind, 1, key)[0].item()

    def _array(self, key: str) -> Any:
        kind, count = self._number("<I"), self._number("<Q")
        if kind == _STRING:
            self._count(count, 8, f"strings in {key!r}")
            return [self._string(f"a string of {key!r}") for _ in range(count)]
        if kind not in _NUMBERS:
            raise self._error(f"{key!r} is an array of the unknown type {kind}")
        return self._numbers(kind, count, key)

    def _numbers(self, kind: int, count: int, key: str) -> np.ndarray[Any, np.dtype[Any]]:
        dtype = np.dtype(_NUMBERS[kind])
        self._count(count, dtype.itemsize, f"numbers in {key!r}")
        raw = self._take(count * dtype.itemsize)
        return np.frombuffer(raw, np.uint8) != 0 if dtype == np.bool_ else np.frombuffer(raw, dtype)

    def _tensor(self) -> tuple[str, str, tuple[int, ...], int, int]:
        """Name, type, shape, offset from the first tensor, bytes."""
        name = self._string("a tensor's name")
        rank = self._number("<I")
        if not 1 <= rank <= 4:
            raise self._error(f"tensor {name!r} has {rank} dimensions")
        shape = tuple(self._number("<Q") for _ in range(rank))[::-1]
        kind, offset = self._number("<I"), self._number("<Q")
        if kind not in TYPES:
            raise UnsupportedModelError(
                f"tensor {name!r} is of the unknown type {kind}",
                where=self.path,
                hint="quantise the model to another type",
            )
        label, block, size = TYPES[kind]
        if not all(0 < n < 1 << 40 for n in shape) or prod(shape) > 1 << 48:
            raise self._error(f"tensor {name!r} has the shape {list(shape)}")
        if shape[-1] % block:
            raise self._error(f"tensor {name!r}: rows of {shape[-1]} are not whole blocks of {label}")
        return name, label, shape, offset, prod(shape) // block * size

    def _placed(
        self, raw: list[tuple[str, str, tuple[int, ...], int, int]], metadata: Mapping[str, Any]
    ) -> dict[str, TensorEntry]:
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._error(f"general.alignment is {alignment!r}, not a power of two")
        start = -(-self.at // alignment) * alignment
        end, found = 0, {}
        for name, label, shape, offset, size in sorted(raw, key=lambda tensor: tensor[3]):
            if name in found:
                raise self._error(f"tensor {name!r} stands twice")
            if offset % alignment or offset < end:
                raise self._error(f"tensor {name!r} overlaps another, or is not aligned")
            end = offset + size
            if start + end > self.size:
                raise self._error(f"tensor {name!r} ends {start + end - self.size} bytes behind the file's end")
            found[name] = TensorEntry(self.path, label, shape, start + offset, size)
        return found
