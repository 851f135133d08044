"""Blob storage, version 2: the `weight.bin` of a package, mapped and bounds-checked.

Knows the file's layout. Must not know which op uses a blob or what its numbers mean.
Source: `mlmodel/src/MILBlob/Blob/StorageFormat.hpp` in coremltools; all numbers little-endian.

    0    header, 64 bytes          uint32 count, uint32 version (2), reserved
    64   metadata record, 64 bytes uint32 sentinel 0xDEADBEEF, uint32 dtype, uint64 size in bytes, uint64 offset of
                                   the data, uint64 padding bits (of sub-byte data), reserved
    …    data, aligned to 64; then the next record

Elements smaller than a byte are packed from the least significant bit on and may straddle bytes (uint3, uint6).
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import PackageError

from .program import Array

__all__ = ["BITS", "NUMPY_DTYPES", "Blob", "BlobFile", "packed_size", "unpack"]

_HEADER = struct.Struct("<II")
_RECORD = struct.Struct("<IIQQQ")
_RECORD_SIZE = 64
_SENTINEL = 0xDEADBEEF
_VERSION = 2
_LFS = b"version "  # how the text begins that stands for a file in a repository

_BLOB_DTYPES = {
    1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 5: "bf16", 6: "int16", 7: "uint16", 8: "int4", 9: "uint1",
    10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32", 16: "fp8e4m3fn", 17: "fp8e5m2",
}  # fmt: skip

# Bits of an element, of those types that have numbers in them.
BITS = {
    "fp16": 16, "fp32": 32, "fp64": 64, "bool": 8, "int4": 4, "int8": 8, "int16": 16, "int32": 32, "int64": 64,
    "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64,
}  # fmt: skip

# What an element is in numpy, once unpacked.
NUMPY_DTYPES: dict[str, type[np.generic]] = {
    "fp16": np.float16, "fp32": np.float32, "fp64": np.float64, "bool": np.bool_, "int4": np.int8, "int8": np.int8,
    "int16": np.int16, "int32": np.int32, "int64": np.int64, "uint1": np.uint8, "uint2": np.uint8, "uint3": np.uint8,
    "uint4": np.uint8, "uint6": np.uint8, "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32,
    "uint64": np.uint64,
}  # fmt: skip


@dataclass(frozen=True)
class Blob:
    """One metadata record: element type, where its data lies, and how many bytes they are."""

    dtype: str
    offset: int
    size: int


class BlobFile:
    """A mapped blob file. Reading an array neither copies whole-byte data nor reads what is not touched.

    Raises:
        PackageError: not a blob file of version 2.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                head = file.read(_HEADER.size)
                if head == _LFS:
                    raise PackageError("a pointer of Git LFS, not the file", where=path, hint="fetch it: git lfs pull")
                if len(head) < _HEADER.size or _HEADER.unpack(head)[1] != _VERSION:
                    raise PackageError("not a blob file of version 2", where=path, hint="the package is damaged")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as exc:
            raise PackageError(f"cannot be read: {exc.strerror}", where=path) from exc
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)

    def __len__(self) -> int:
        return len(self._bytes)

    def record(self, offset: int) -> Blob:
        """The metadata record at `offset`, its data inside the file.

        Raises:
            PackageError: there is no record there, its type is unknown, or its data leave the file.
        """
        if not 0 <= offset <= len(self) - _RECORD_SIZE:
            raise PackageError(f"offset {offset} is no place for a record", where=self.path)
        sentinel, code, size, data, _padding = _RECORD.unpack_from(self._map, offset)
        if sentinel != _SENTINEL:
            raise PackageError(f"no metadata record at offset {offset}", where=self.path)
        if code not in _BLOB_DTYPES:
            raise PackageError(f"unknown element type {code} in the record at {offset}", where=self.path)
        if data > len(self) or size > len(self) - data:
            raise PackageError(f"the data of the record at {offset} leave the file", where=self.path)
        return Blob(_BLOB_DTYPES[code], data, size)

    def raw(self, offset: int, dtype: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The stored bytes of an array, mapped, packed as they lie.

        Raises:
            PackageError: as `record`, or the record's type or size is not that of `dtype` and `shape`.
        """
        blob = self.record(offset)
        size = packed_size(dtype, shape)
        if blob.dtype != dtype and (blob.dtype, dtype) != ("uint8", "bool"):
            raise PackageError(f"the record at {offset} holds {blob.dtype}, not {dtype}", where=self.path)
        if blob.size != size:
            raise PackageError(
                f"the record at {offset} holds {blob.size} bytes, {dtype} {list(shape)} needs {size}", where=self.path
            )
        return self._bytes[blob.offset : blob.offset + blob.size]

    def array(self, offset: int, dtype: str, shape: tuple[int, ...]) -> Array:
        """An array of `NUMPY_DTYPES[dtype]`; sub-byte types are unpacked (a copy), the others are mapped."""
        return unpack(self.raw(offset, dtype, shape), dtype, shape)


def packed_size(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a packed array of that type and shape."""
    if dtype not in BITS:
        raise PackageError(f"element type {dtype} is not known to the portable executor")
    return (prod(shape) * BITS[dtype] + 7) // 8


def unpack(raw: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> Array:
    """The array that packed bytes hold, of `NUMPY_DTYPES[dtype]`; a view of them where an element is whole bytes."""
    bits = BITS[dtype]
    if bits >= 8:
        if raw.ctypes.data % (bits // 8):
            raw = raw.copy()
        return raw.view(np.dtype(NUMPY_DTYPES[dtype]).newbyteorder("<")).reshape(shape)
    count = prod(shape)
    if 8 % bits == 0:
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        values = ((raw[:, None] >> shifts) & np.uint8((1 << bits) - 1)).reshape(-1)[:count]
    else:
        spread = np.unpackbits(raw, bitorder="little", count=count * bits).reshape(count, bits)
        values = np.packbits(spread, axis=1, bitorder="little").reshape(-1)
    if dtype == "int4":
        return ((values ^ np.uint8(8)).view(np.int8) - np.int8(8)).reshape(shape)
    return values.reshape(shape)
