"""Messages between the two processes: a small JSON object and arrays as raw bytes.

Knows bytes and files. Must not know what a message asks for.

    "LiMs"  u32 bytes of the header  u64 bytes of the arrays  |  header: JSON, UTF-8  |  arrays, one after the other

    header  {…, "arrays": [[name, dtype, shape], …]}

Little-endian, arrays in C order. Nothing is unpickled, every size is bounded before memory is asked for.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arrays", "Header", "WireError", "read_message", "write_message"]

Header = dict[str, Any]
Arrays = dict[str, NDArray[Any]]

_PREFIX = struct.Struct("<4sIQ")
_MAGIC = b"LiMs"
_MOST_HEADER = 1 << 20  # bytes
_MOST_ARRAYS = 1 << 34  # bytes: a cache of 32,768 tokens of an 8B model takes a quarter of it
_DTYPES = frozenset(
    ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
)


class WireError(ValueError):
    """Bytes that are no message, or a message that cannot be written."""


def write_message(file: IO[bytes], header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Writes a message and flushes.

    Raises:
        WireError: an array of a dtype that has no place in a message, or too many bytes; nothing was written.
        OSError: the other end is closed.
    """
    packed = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
    table = []
    for name, array in packed.items():
        if array.dtype.name not in _DTYPES:
            raise WireError(f"{name}: arrays of {array.dtype} are not sent")
        table.append([name, array.dtype.name, list(array.shape)])
    text = json.dumps({**header, "arrays": table}).encode()
    size = sum(array.nbytes for array in packed.values())
    if len(text) > _MOST_HEADER or size > _MOST_ARRAYS:
        raise WireError(f"a message of {len(text)} and {size} bytes is too large")
    file.write(_PREFIX.pack(_MAGIC, len(text), size) + text)
    for array in packed.values():
        file.write(array.reshape(-1).view(np.uint8).data)
    file.flush()


def read_message(file: IO[bytes]) -> tuple[Header, Arrays] | None:
    """Reads the next message; None where the other end was closed.

    Raises:
        WireError: what came is no message, or it breaks off.
    """
    prefix = file.read(_PREFIX.size)
    if not prefix:
        return None
    if len(prefix) < _PREFIX.size:
        raise WireError("the message breaks off")
    magic, length, size = _PREFIX.unpack(prefix)
    if magic != _MAGIC or length > _MOST_HEADER or size > _MOST_ARRAYS:
        raise WireError("this is no message")
    try:
        header = json.loads(bytes(_exactly(file, bytearray(length))))
        table = header.pop("arrays")
        kinds = [(str(name), _dtype(dtype), tuple(int(d) for d in shape)) for name, dtype, shape in table]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise WireError(f"the header is wrong: {exc}") from exc
    if any(d < 0 for _, _, shape in kinds for d in shape) or size != sum(
        dtype.itemsize * math.prod(shape) for _, dtype, shape in kinds
    ):
        raise WireError("the header and the sizes disagree")
    arrays = {}
    for name, dtype, shape in kinds:
        arrays[name] = np.empty(shape, dtype)
        _exactly(file, arrays[name].reshape(-1).view(np.uint8).data)
    return header, arrays


def _dtype(name: Any) -> np.dtype[Any]:
    if name not in _DTYPES:
        raise ValueError(f"no dtype {name!r}")
    return np.dtype(str(name))


def _exactly(file: IO[bytes], buffer: bytearray | memoryview) -> bytearray | memoryview:
    """Fills the buffer."""
    view, done = memoryview(buffer), 0
    while done < len(view):
        count = file.readinto(view[done:])  # type: ignore[attr-defined]  # IO[bytes] lacks it, every binary file has it
        if not count:
            raise WireError("the message breaks off")
        done += count
    return buffer
