"""A session in a file: a checked header and rows of the state.

Knows bytes. Must not know models, executors or what the layout means.

    "LILIMSES"  u32 version  u32 bytes of the header  SHA-256 of the header  |  header: JSON  |  rows: fp16

    header  {"about": {…}, "layout": {…}, "shape": [2 · layers, kv_heads, rows, head_dim], "sha256": of the rows}

Little-endian. Whoever reads a file checks `about` before any memory is taken for the rows. A file holds what was said:
it is to be written as a private one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from lilims.core.errors import StorageError

from .errors import OtherModelError, SessionFileError
from .session import SessionSnapshot

__all__ = ["VERSION", "encode_session", "read_session_file"]

VERSION = 1
_MAGIC = b"LILIMSES"
_PREFIX = struct.Struct("<8sII32s")
_MOST_HEADER = 1 << 24  # bytes: a million ids take half of it
_BLOCK = 1 << 22  # bytes that are hashed at once
_ROWS = np.dtype("<f2")


def encode_session(about: Mapping[str, Any], snapshot: SessionSnapshot) -> list[bytes | memoryview]:
    """The parts of a file, in order; their lengths are its size.

    Args:
        about: what a reader has to compare, as JSON.

    Raises:
        StorageError: the layout is too large for a header.
    """
    rows = np.asarray(snapshot.state, _ROWS, order="C")
    content = rows.reshape(-1).view(np.uint8).data
    shape, digest = list(rows.shape), hashlib.sha256(content).hexdigest()
    header = json.dumps(
        {"about": dict(about), "layout": dict(snapshot.layout), "shape": shape, "sha256": digest}, allow_nan=False
    ).encode()
    if len(header) > _MOST_HEADER:
        raise StorageError(f"a session's tokens take {len(header)} bytes, more than the {_MOST_HEADER} of a header")
    return [_PREFIX.pack(_MAGIC, VERSION, len(header), hashlib.sha256(header).digest()), header, content]


def read_session_file(path: Path, check: Callable[[Mapping[str, Any]], Sequence[int]]) -> SessionSnapshot:
    """Reads a session.

    Args:
        path: the file.
        check: refuses an `about` that does not fit, or gives the shape of the state that the rows must fit:
            [2 · layers, kv_heads, R, head_dim].

    Raises:
        SessionFileError: there is no such file, it is no session, damaged, cut off, or from a later version.
        OtherModelError: its rows do not fit the state.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SessionFileError("not a file", where=path, hint="a session is saved in one file")
        with path.open("rb") as file:
            header = _header(file, path)
            shape = _fits(header, check(header["about"]), path)
            return _snapshot(file, header, shape, path)
    except FileNotFoundError as exc:
        raise SessionFileError("no such file", where=path, hint="check the path") from exc
    except (OSError, ValueError) as exc:  # ValueError: a name with a zero byte
        raise SessionFileError(f"cannot be read: {getattr(exc, 'strerror', None) or exc}", where=path) from exc


def _header(file: IO[bytes], path: Path) -> dict[str, Any]:
    prefix = file.read(_PREFIX.size)
    if prefix[: len(_MAGIC)] != _MAGIC:
        raise SessionFileError("this is no saved session", where=path, hint="check the path")
    if len(prefix) < _PREFIX.size:
        raise SessionFileError("the file is cut off", where=path)
    _, version, length, digest = _PREFIX.unpack(prefix)
    if version > VERSION:
        raise SessionFileError(
            f"the session is of format {version}, this lilims reads up to {VERSION}", where=path, hint="update lilims"
        )
    if length > _MOST_HEADER:
        raise SessionFileError("the file is damaged: its header is too large", where=path)
    raw = file.read(length)
    if len(raw) < length:
        raise SessionFileError("the file is cut off", where=path)
    if hashlib.sha256(raw).digest() != digest:
        raise SessionFileError("the file is damaged: its header is not what was written", where=path)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise SessionFileError(f"the file is damaged: {exc}", where=path) from exc
    kinds = {"about": dict, "layout": dict, "shape": list, "sha256": str}
    if not isinstance(header, dict) or any(not isinstance(header.get(key), kind) for key, kind in kinds.items()):
        raise SessionFileError("the file is damaged: its header lacks entries", where=path)
    return header


def _fits(header: Mapping[str, Any], state: Sequence[int], path: Path) -> tuple[int, ...]:
    """The shape of the rows, checked against that of the state."""
    shape = tuple(header["shape"])
    fits = len(shape) == len(state) and all(type(size) is int and size >= 0 for size in shape)
    if not fits or (*shape[:-2], shape[-1]) != (*state[:-2], state[-1]) or shape[-2] > state[-2]:
        raise OtherModelError(f"rows of shape {str(list(shape))[:80]} do not fit a state of {list(state)}", where=path)
    return shape


def _snapshot(file: IO[bytes], header: Mapping[str, Any], shape: tuple[int, ...], path: Path) -> SessionSnapshot:
    size = math.prod(shape) * _ROWS.itemsize
    there = os.fstat(file.fileno()).st_size - file.tell()
    if there != size:
        what = "the file is cut off" if there < size else "the file is damaged: something follows its end"
        raise SessionFileError(f"{what} ({there} bytes of rows instead of {size})", where=path)
    rows = np.empty(shape, _ROWS)
    view, done, digest = rows.reshape(-1).view(np.uint8).data, 0, hashlib.sha256()
    while done < size:
        count = file.readinto(view[done : done + _BLOCK])  # type: ignore[attr-defined]  # every binary file has it
        if not count:
            raise SessionFileError("the file is cut off", where=path)
        digest.update(view[done : done + count])
        done += count
    if digest.hexdigest() != header["sha256"]:
        raise SessionFileError("the file is damaged: its rows are not what was written", where=path)
    return SessionSnapshot(header["layout"], shape[-2], rows.astype(np.float16, copy=False))
