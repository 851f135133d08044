"""Makes room: which installed models and downloads go, least recently used first.

Exempt are pinned models, the built-in one, and what a process uses. Caches count towards the quota, and are the first
to go: they can be made again. Knows the order. Must not know what is asked of the user.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lilims.core import usage
from lilims.core.console import bytes_text, console
from lilims.core.files import directory_size
from lilims.core.locks import attempt
from lilims.core.paths import cache_dir

from . import store
from .errors import ModelInUseError
from .space import check_room, downloads_dir, quota, used

__all__ = ["Victim", "collect", "make_room", "plan"]

_BUSY = 3600.0  # seconds after which nobody is taken to use what has no lock
_KEPT_DOWNLOADS = 14 * 24 * 3600.0  # seconds that the beginning of a download is kept


@dataclass(frozen=True)
class Victim:
    """Something that may go: what it is, how it is called, its bytes, when it was used last, and how it goes."""

    kind: str
    name: str
    bytes: int
    last_used: float
    remove: Callable[[], None]


def plan(target: int | None, *, downloads: bool = True) -> list[Victim]:
    """What has to go so that everything takes at most `target` bytes; None is only what nobody can use any more.

    Downloads that nobody has gone on with for two weeks go always. Then caches, then models and, with `downloads`,
    younger downloads, least recently used first, until it suffices.
    """
    begun = _downloads()
    chosen = [victim for victim in begun if time.time() - victim.last_used > _KEPT_DOWNLOADS]
    if target is None:
        return chosen
    excess = used() - target - sum(victim.bytes for victim in chosen)
    younger = [victim for victim in begun if downloads and victim not in chosen]
    for victim in [*_caches(), *sorted([*younger, *_models()], key=lambda victim: victim.last_used)]:
        if excess <= 0:
            break
        chosen.append(victim)
        excess -= victim.bytes
    return chosen


def collect(victims: list[Victim]) -> list[Victim]:
    """Removes them; returns those that are gone. What a process has begun to use meanwhile stays."""
    store.tidy()
    gone = []
    for victim in victims:
        with contextlib.suppress(ModelInUseError):
            victim.remove()
            gone.append(victim)
    return gone


def make_room(size: int) -> None:
    """Sees that `size` more bytes fit the quota and the disk: removes what is needed, or nothing if that is too little.

    Raises:
        ModelTooLargeError: the quota has no room for it, whatever goes.
        StorageError: the disk has not so much free.
    """
    most = quota()
    if most is not None and (taken := used()) + size > most:
        victims = plan(most - size, downloads=False)
        if taken + size - sum(victim.bytes for victim in victims) <= most:
            for victim in collect(victims):
                console.note(f"removed {victim.kind} {victim.name} ({bytes_text(victim.bytes)}) to stay in the quota")
    check_room(size)


def _models() -> list[Victim]:
    found = []
    for model in store.all_models():
        lock = usage.reserve(model.folder)
        if lock is None or model.pinned or model.built_in:
            if lock is not None:
                lock.release()
            continue
        lock.release()
        last = model.last_used
        when = model.folder.stat().st_mtime if last is None else last
        found.append(Victim("model", model.reference, _own_bytes(model), when, partial(store.remove, model)))
    return found


def _own_bytes(model: store.Installed) -> int:
    """The bytes that removing a model frees: files that another model shares stay."""
    files = (path for path in model.folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(stat.st_size for stat in (path.stat() for path in files) if stat.st_nlink == 1)


def _downloads() -> list[Victim]:
    folder = downloads_dir()
    groups: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file():
            groups.setdefault(path.name.partition(".")[0], []).append(path)
    return [_download(name, files) for name, files in groups.items() if name]


def _download(name: str, files: list[Path]) -> Victim:
    def remove() -> None:
        lock = attempt(files[0].with_name(f"{name}.lock"))
        if lock is None:
            raise ModelInUseError("is being downloaded", where=name)
        for path in files:
            path.unlink(missing_ok=True)
        lock.remove()

    stats = [path.stat() for path in files if path.exists() and path.suffix != ".lock"]
    return Victim(
        "download", name, sum(s.st_size for s in stats), max((s.st_mtime for s in stats), default=0.0), remove
    )


def _caches() -> list[Victim]:
    """What can be made again, least recently used first: graphs and packed weights, logits, calibrations."""
    return sorted([*_graphs(), *_shelves()], key=lambda victim: victim.last_used)


def _graphs() -> list[Victim]:
    from lilims.runtime.portable.cache import settings_store

    kept = settings_store()
    if not kept.folder.is_relative_to(cache_dir()):
        return []
    return [Victim("cache", one.label, one.size, one.used, partial(kept.drop, one.key)) for one in kept.entries()]


def _shelves() -> list[Victim]:
    """Those of the last hour stay: nothing else says that an evaluation or a conversion is using them."""
    from lilims.conversion.shelves import KINDS, shelf_folders

    found = []
    for kind, folder in shelf_folders():
        with contextlib.suppress(OSError):  # removed meanwhile
            if time.time() - (used := folder.stat().st_mtime) > _BUSY:
                remove = partial(shutil.rmtree, folder, ignore_errors=True)
                name = f"{KINDS[kind]} {folder.name[:8]}"
                found.append(Victim("cache", name, directory_size(folder), used, remove))
    return found
