"""What the page shows of models: those that are here, those that can be brought, and the room for them.

Knows the model manager and the engine's cards. Must not know requests.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lilims.core.errors import LilimsError

__all__ = ["cards", "offers", "room"]


def cards(found: Iterable[Any]) -> list[dict[str, Any]]:
    """The engine's cards as JSON objects."""
    return [dataclasses.asdict(card) for card in found]


def offers() -> dict[str, Any]:
    """The registry's models that are not installed: name, version, where they are; an `error` if it cannot be read.

    Nothing is asked of the network: the size of what lies elsewhere is found by a pull with `dry_run`.
    """
    from lilims.models.registry import read_registry, registry_file
    from lilims.models.store import all_models

    file = registry_file()
    if not file.is_file():
        return {"offers": [], "error": None}
    try:
        entries = read_registry(file)
        there = {model.reference for model in all_models()}
    except LilimsError as error:
        return {"offers": [], "error": str(error)}
    found = []
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.version), reverse=True):
        local = Path(entry.source).is_absolute()
        found.append({
            "source": f"{entry.name}@{entry.version}",
            "name": entry.name,
            "version": str(entry.version),
            "from": "this machine" if local else entry.source,
            "bytes": _size(Path(entry.source)) if local else None,
            "installed": f"{entry.name}@{entry.version}" in there,
        })  # fmt: skip
    return {"offers": found[::-1], "error": None}


def _size(path: Path) -> int | None:
    from lilims.models.store import disk_bytes

    if path.is_dir():
        return disk_bytes([path])
    return path.stat().st_size if path.is_file() else None


def room() -> dict[str, int | None]:
    """Bytes: `free` of the disk, `quota`, what is `used` of it, `largest`, the limit of one model. None is no limit."""
    from lilims.core.paths import home
    from lilims.core.settings import settings
    from lilims.models.space import model_limit, quota, used

    path = home()
    while not path.exists() and path != path.parent:
        path = path.parent
    limited = settings().max_model_gb > 0
    return {
        "free": shutil.disk_usage(os.fspath(path)).free,
        "quota": quota(),
        "used": used(),
        "largest": model_limit() if limited else None,
    }
