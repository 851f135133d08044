"""Writes weight.bin, blob by blob, so that no more than the piece at hand is in memory.

Knows blob storage, version 2 (`lilims.runtime.portable.blob` reads it). Must not know what a blob is for.
Source: `mlmodel/src/MILBlob/Blob/StorageFormat.hpp` in coremltools; all numbers little-endian.

    0    header, 64 bytes          uint32 count, uint32 version (2), reserved
    64   metadata record, 64 bytes uint32 sentinel 0xDEADBEEF, uint32 dtype, uint64 size in bytes, uint64 offset of
                                   the data, uint64 padding bits (of sub-byte data), reserved
    …    data, aligned to 64; then the next record

Elements smaller than a byte are packed from the least significant bit on and may straddle bytes (uint3, uint6).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIGNMENT", "BITS", "Mark", "WeightFile", "pack"]

ALIGNMENT = 64  # bytes; also the size of the header and of a record
_VERSION, _SENTINEL = 2, 0xDEADBEEF
_CODES = {
    "fp16": 1, "fp32": 2, "uint8": 3, "int8": 4, "int16": 6, "uint16": 7, "int4": 8, "uint1": 9, "uint2": 10,
    "uint4": 11, "uint3": 12, "uint6": 13, "int32": 14, "uint32": 15,
}  # fmt: skip
BITS = {
    "fp16": 16, "fp32": 32, "uint8": 8, "int8": 8, "int16": 16, "uint16": 16, "int4": 4, "uint1": 1, "uint2": 2,
    "uint4": 4, "uint3": 3, "uint6": 6, "int32": 32, "uint32": 32,
}  # fmt: skip
_HEAD = 4096  # bytes of a blob that are compared first, in memory, to find one of equal content
_COMPARED = 1 << 20

Bytes = NDArray[np.uint8]


def pack(values: NDArray[np.generic], dtype: str) -> Bytes:
    """The bytes of an array as a blob holds them. Sub-byte elements are the low bits of (u)int8 ones."""
    flat = np.ascontiguousarray(values).reshape(-1)
    bits = BITS[dtype]
    if bits >= 8:
        return flat.view(np.uint8)
    flat = flat.view(np.uint8)
    if bits == 4 and len(flat) % 2 == 0:  # two neighbours at once: 0x0H0L → 0xHL
        pairs = flat.view("<u2")
        low = pairs & np.uint16(0x0F)
        return (low | ((pairs >> np.uint16(4)) & np.uint16(0xF0))).astype(np.uint8)
    spread = np.unpackbits(flat[:, None], axis=1, bitorder="little", count=bits)
    return np.packbits(spread.reshape(-1), bitorder="little")


@dataclass(frozen=True)
class Mark:
    """How far a file is written: its end, its blobs, and the CRC-32 of everything behind the header."""

    end: int = ALIGNMENT
    blobs: int = 0
    crc: int = 0


class WeightFile:
    """A weight.bin that grows. Use it as a context manager; `finish` makes it valid.

    A blob whose bytes are those of an earlier one is taken back, and the earlier one stands for both.

    Args:
        path: the file to write; None counts only, and then arrays may be of any stride and content.
        mark: go on behind this point of a file that exists; what lies behind it is cut off.
        checked: keep the CRC-32 of what is written, for `mark`.
    """

    def __init__(self, path: Path | None, *, mark: Mark | None = None, checked: bool = False) -> None:
        self._checked = checked
        self._mark = mark or Mark()
        self._twins: dict[tuple[str, int, bytes], list[int]] = {}
        self._file: BinaryIO | None = None
        if path is None:
            return
        self._file = path.open("wb+" if mark is None else "rb+")
        if mark is None:
            self._file.write(bytes(ALIGNMENT))
        else:
            self._file.truncate(mark.end)
            self._file.seek(mark.end)

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def mark(self) -> Mark:
        """How far the file is written. Everything before it has left this process' buffers."""
        if self._file is not None:
            self._file.flush()
        return self._mark

    @property
    def size(self) -> int:
        """Bytes of the file, were it finished now."""
        return self._mark.end

    def flush(self) -> None:
        """Hands what was written to the operating system: other readers of the file see it."""
        if self._file is not None:
            self._file.flush()

    def add(self, dtype: str, values: NDArray[np.generic]) -> int:
        """Writes an array; returns the offset of its record."""
        with self.blob(dtype, values.shape) as blob:
            blob.write(values)
        return blob.offset

    def blob(self, dtype: str, shape: tuple[int, ...]) -> Blob:
        """A blob to write piece by piece, in a `with` block; no other may be open meanwhile."""
        return Blob(self, dtype, prod(shape))

    def recall(self, dtype: str, offset: int, shape: tuple[int, ...]) -> None:
        """Makes an earlier run's blob known, so that equal ones are not written again."""
        size = (prod(shape) * BITS[dtype] + 7) // 8
        self._twins.setdefault((dtype, size, self._read(offset + ALIGNMENT, min(size, _HEAD))), []).append(offset)

    def finish(self) -> int:
        """Writes the header; returns the size of the file."""
        if self._file is not None:
            self._file.truncate(self._mark.end)
            self._file.seek(0)
            self._file.write(struct.pack("<II", self._mark.blobs, _VERSION).ljust(ALIGNMENT, b"\0"))
            self._file.flush()
        return self._mark.end

    def _begin(self, dtype: str, count: int) -> int:
        """Writes a record; returns its offset."""
        offset = -(-self._mark.end // ALIGNMENT) * ALIGNMENT
        bits = count * BITS[dtype]
        record = struct.pack("<IIQQQ", _SENTINEL, _CODES[dtype], (bits + 7) // 8, offset + ALIGNMENT, -bits % 8)
        self._append(bytes(offset - self._mark.end) + record.ljust(ALIGNMENT, b"\0"), 1)
        return offset

    def _append(self, raw: memoryview | bytes, blobs: int = 0) -> None:
        old = self._mark
        if self._file is not None:
            self._file.write(raw)
        crc = zlib.crc32(raw, old.crc) if self._checked else 0
        self._mark = Mark(old.end + len(raw), old.blobs + blobs, crc)

    def _end(self, before: Mark, dtype: str, offset: int, head: bytes) -> int:
        """The offset of the blob that was written last, or of an equal one before it."""
        if self._file is None:
            return offset
        size = self._mark.end - offset - ALIGNMENT
        twins = self._twins.setdefault((dtype, size, head), [])
        for twin in twins:
            if self._equal(twin + ALIGNMENT, offset + ALIGNMENT, size):
                self._file.seek(before.end)
                self._mark = before
                return twin
        twins.append(offset)
        return offset

    def _equal(self, first: int, second: int, size: int) -> bool:
        steps = range(0, size, _COMPARED)
        return all(
            self._read(first + s, min(_COMPARED, size - s)) == self._read(second + s, min(_COMPARED, size - s))
            for s in steps
        )

    def _read(self, offset: int, size: int) -> bytes:
        assert self._file is not None
        self._file.seek(offset)
        found = self._file.read(size)
        self._file.seek(self._mark.end)
        return found


class Blob:
    """A blob that is being written; `offset` is where its record lies, once the block has ended."""

    def __init__(self, file: WeightFile, dtype: str, count: int) -> None:
        self._file, self._dtype, self._count = file, dtype, count
        self._before = file._mark
        self._head = b""
        self.offset = file._begin(dtype, count)

    def __enter__(self) -> Blob:
        return self

    def copy(self, raw: Bytes) -> None:
        """Appends elements that are packed already. Only the last piece may end inside a byte."""
        self._count -= min(self._count, len(raw) * 8 // BITS[self._dtype])
        self._append(raw)

    def write(self, values: NDArray[np.generic]) -> None:
        """Appends elements. Only the last piece may end inside a byte."""
        self._count -= values.size
        if self._file._file is None:
            end, old = (values.size * BITS[self._dtype] + 7) // 8, self._file._mark
            self._file._mark = Mark(old.end + end, old.blobs)
            return
        self._append(pack(values, self._dtype))

    def _append(self, raw: Bytes) -> None:
        if len(self._head) < _HEAD:
            self._head += raw[: _HEAD - len(self._head)].tobytes()
        self._file._append(raw.data)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            assert self._count == 0, f"{self._count} elements of a blob are missing"
            self.offset = self._file._end(self._before, self._dtype, self.offset, self._head)
