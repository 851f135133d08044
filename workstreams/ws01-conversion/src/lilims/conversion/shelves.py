"""Folders below the cache folder that may take so many bytes together: the one that was used longest ago goes first.

    <home>/cache/<kind>/<key>/    key: the SHA-256 of what it is kept for; the folder's time is its last use

Knows folders and sizes. Must not know what they hold.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Literal

from lilims.core.files import directory_size
from lilims.core.paths import cache_dir

__all__ = ["KINDS", "Kind", "make_room_for", "shelf_folder", "shelf_folders"]

Kind = Literal["evaluation", "calibration"]
KINDS: dict[Kind, str] = {"evaluation": "logits of a reference", "calibration": "a calibration"}


def shelf_folder(kind: Kind, key: str) -> Path:
    """Where something of a kind is kept."""
    return cache_dir() / kind / key


def shelf_folders() -> list[tuple[Kind, Path]]:
    """All that is kept; each can be made again."""
    return [
        (kind, path)
        for kind in KINDS
        for path in sorted((cache_dir() / kind).glob("*"))
        if re.fullmatch(r"[0-9a-f]{64}", path.name) and path.is_dir() and not path.is_symlink()
    ]


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
