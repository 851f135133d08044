"""A reference's logits on disk, so that the second model that is compared with it costs half.

Knows files, sizes and a checksum. Must not know who computed the logits: the key says it.
Values are the float32 that were computed: a comparison with kept logits gives the same figures to the last bit (16 bits
would halve the files, and cost accuracy that would have to be stated with every figure).

    <home>/cache/evaluation/<key>/<window>.rows     float32, little-endian, [tokens that count, vocab]; then its CRC-32
"""

from __future__ import annotations

import contextlib
import os
import secrets
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..shelves import make_room_for, shelf_folder
from .sources import Logits, Source
from .windows import Window

__all__ = ["LIMIT", "Cached", "Shelf", "make_room"]

LIMIT = 4 << 30  # bytes of all references together
_BLOCK = 64  # rows that are read at once


@dataclass(frozen=True)
class Shelf:
    """The folder of one reference on one text. `width` is the vocabulary."""

    folder: Path
    width: int

    def path(self, window: Window) -> Path:
        return self.folder / f"{window.index}.rows"

    def read(self, window: Window) -> Iterator[Logits] | None:
        """The window's rows, or None where they are not there, cut short or damaged."""
        path, rows = self.path(window), len(window.targets)
        try:
            if path.stat().st_size != 4 * rows * self.width + 4:
                return None
            values = np.memmap(path, "<f4", "r", shape=(rows, self.width))
            recorded = int(np.fromfile(path, "<u4", 1, offset=values.nbytes)[0])
        except (OSError, ValueError, IndexError):
            return None
        found = 0
        for first in range(0, rows, _BLOCK):
            found = zlib.crc32(values[first : first + _BLOCK].tobytes(), found)
        if found != recorded:
            return None
        return (np.array(values[first : first + _BLOCK]) for first in range(0, rows, _BLOCK))

    def write(self, window: Window, blocks: Iterator[Logits]) -> Iterator[Logits]:
        """Passes rows on and keeps them; a disk that is full or read-only costs the file only."""
        path, checksum = self.path(window), 0
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        with contextlib.ExitStack() as stack:
            file = None
            with contextlib.suppress(OSError):
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.callback(temporary.unlink, missing_ok=True)
                file = stack.enter_context(temporary.open("wb"))
            for block in blocks:
                if file is not None:
                    raw = np.ascontiguousarray(block, "<f4").tobytes()
                    checksum = zlib.crc32(raw, checksum)
                    try:
                        file.write(raw)
                    except OSError:
                        file = None
                yield block
            if file is not None:
                with contextlib.suppress(OSError):
                    file.write(checksum.to_bytes(4, "little"))
                    file.flush()
                    os.fsync(file.fileno())
                    file.close()
                    os.replace(temporary, path)


class Cached:
    """A source whose rows come from a shelf where they are there; it is opened only where they are not."""

    def __init__(self, shelf: Shelf, source: Source) -> None:
        self._shelf, self._source = shelf, source

    def rows(self, window: Window) -> Iterator[Logits]:
        found = self._shelf.read(window)
        return self._shelf.write(window, self._source.rows(window)) if found is None else found


def make_room(name: str, windows: Sequence[Window], width: int, limit: int = LIMIT) -> Shelf | None:
    """The shelf of a reference; those that were used longest ago go where it would not fit. None: it never fits."""
    needed = sum(4 * len(window.targets) * width + 4 for window in windows)
    if needed > limit:
        return None
    shelf = Shelf(shelf_folder("evaluation", name), width)
    make_room_for(shelf.folder, needed, limit)
    return shelf
