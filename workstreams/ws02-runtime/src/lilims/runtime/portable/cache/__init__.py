"""What is made of a package, kept between processes: graphs, and weights in the layout that kernels want.

`store.py` is the folder: entries, their checksums, how much they may take. `entry.py` says what is in an entry,
`packing.py` writes weights as ONNX Runtime maps them, `optimised.py` a graph as it optimised it. An entry that is
deleted is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .store import Store

__all__ = ["Cache", "settings_cache", "settings_store"]

_GIGABYTE = 10**9


@dataclass(frozen=True)
class Cache:
    """Where what is made of a package is kept.

    Attributes:
        folder: below it each package has a folder of its own.
        identity: a hash that stands for the package's bytes.
        limit: bytes that the folder may take; what is used least makes room.
    """

    folder: Path
    identity: str
    limit: int = 16 * _GIGABYTE


def settings_cache(identity: Callable[[], str]) -> Cache | None:
    """The cache that the settings name, for a package; None where it is switched off (`LILIMS_CACHE_GB=0`)."""
    from lilims.core.paths import cache_dir
    from lilims.core.settings import settings

    limit = settings().cache_gb * _GIGABYTE
    return Cache(cache_dir() / "portable", identity(), limit) if limit > 0 else None


def settings_store() -> Store:
    """The cache that the settings name, to be listed or emptied."""
    from lilims.core.paths import cache_dir
    from lilims.core.settings import settings

    from .store import Store

    return Store(cache_dir() / "portable", limit=settings().cache_gb * _GIGABYTE)
