"""Folders below the cache folder that may take so many bytes together: the one that was used longest ago goes first.

Knows folders and sizes. Must not know what they hold.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from lilims.core.files import directory_size

__all__ = ["make_room_for"]


def make_room_for(folder: Path, needed: int, limit: int) -> None:
    """Removes neighbours of a folder until `needed` bytes more fit below `limit`; it counts as used now.

    Neighbours are folders whose names are as long as its own, as those of hashes are.
    """
    others = [other for other in folder.parent.glob("?" * len(folder.name)) if other != folder]
    held = {other: directory_size(other) for other in others if other.is_dir() and not other.is_symlink()}
    for other in sorted(held, key=lambda other: other.stat().st_mtime):
        if sum(held.values()) + needed <= limit:
            break
        shutil.rmtree(other, ignore_errors=True)
        del held[other]
    with contextlib.suppress(OSError):
        os.utime(folder)
