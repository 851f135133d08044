"""Models on a server: a model folder, of which manifest.json is the index, or an archive.

Knows which addresses the files have and how several are fetched at once. Must not know how one file is fetched.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import httpx2

from lilims.core.errors import InputError, ModelNotFoundError, UnsupportedError, UsageError
from lilims.core.locks import Lock, attempt
from lilims.core.manifest import FILE_NAME, FileRecord
from lilims.core.paths import state_dir
from lilims.core.settings import settings

from ..archive.read import is_archive
from ..archive.write import SIGNATURE
from ..download.address import Policy, parse
from ..download.area import Want
from ..download.client import Client, open_client
from ..download.fetch import fetch, fetch_small
from ..errors import DownloadError
from ..gc import make_room
from ..offer import InstalledFiles, Offer, add_file, read_offer
from ..pulling import Item, Pulled, Wishes, no_conversion
from ..signing import check_signature
from ..space import model_limit
from .local import install_archive

__all__ = ["pull_web"]

_MOST_MANIFEST = 16 << 20
_MOST_SIGNATURE = 1 << 16
_POLL = 0.1  # seconds


def pull_web(url: str, wishes: Wishes) -> Pulled:
    """Downloads and installs a model folder or an archive.

    Raises:
        LilimsError: as `pull`.
    """
    policy = Policy.of(url, private=wishes.private)
    if settings().offline:
        raise UnsupportedError("the network is switched off", where=url, hint="unset LILIMS_OFFLINE, or name a path")
    no_conversion(wishes)
    coroutine = _archive if is_archive(parse(url).path) else _folder
    try:
        return asyncio.run(coroutine(url, policy, wishes))
    except ExceptionGroup as group:  # of several files that failed, the first is told
        raise group.exceptions[0] from None


async def _folder(url: str, policy: Policy, wishes: Wishes) -> Pulled:
    base = parse(url)
    if not base.path.endswith(f"/{FILE_NAME}"):
        base = base.copy_with(path=base.path.rstrip("/") + f"/{FILE_NAME}")
    async with open_client(policy, wishes.patience, wishes.jobs) as client:
        raw = await fetch_small(client, str(base), _MOST_MANIFEST)
        offer = read_offer(raw, url, name=wishes.name, sha256=wishes.sha256, version=wishes.version)
        wants = {name: _want(base, name, record) for name, record in offer.manifest.files.items()}
        if wishes.dry_run:
            there = _present(offer, url, wants, wishes)
            return there if there is not None else await asyncio.to_thread(_plan, offer, url, wants)
        offer = await _with_signature(client, base, offer)
        if wishes.key is not None:
            check_signature(raw, offer.signature, wishes.key, url)
        lock = await _lock(offer)
        try:
            there = _present(offer, url, wants, wishes)
            return there if there is not None else await _download(client, offer, url, wants, wishes)
        finally:
            lock.remove()


def _present(offer: Offer, url: str, wants: Mapping[str, Want], wishes: Wishes) -> Pulled | None:
    """The model, if it is installed already."""
    there = None if wishes.force else offer.installed()
    if there is None:
        return None
    if not wishes.dry_run:
        _clear(wants)  # a pull that was killed behind its last step may have left some
    return Pulled("none", url, there.reference, offer.bytes, installed=there)


def _plan(offer: Offer, url: str, wants: Mapping[str, Want]) -> Pulled:
    """What would be fetched, and how much of it is here."""
    here, records = InstalledFiles(), offer.manifest.files
    items = tuple(
        Item(name, want.bytes, records[name].bytes if records[name] in here else want.arrived)
        for name, want in wants.items()
    )
    return Pulled("download", url, offer.reference, offer.bytes, items)


async def _lock(offer: Offer) -> Lock:
    """One process at a time brings a version of a name: the next one then finds it installed."""
    path = state_dir() / "pulling" / offer.reference
    while (lock := attempt(path)) is None:
        await asyncio.sleep(_POLL)
    return lock


async def _download(client: Client, offer: Offer, url: str, wants: Mapping[str, Want], wishes: Wishes) -> Pulled:
    plan = await asyncio.to_thread(_plan, offer, url, wants)
    make_room(plan.missing or 0)
    with offer.installing() as folder:
        await _fetch_all(client, wants, offer.manifest.files, folder, wishes)
    _clear(wants)
    model = offer.result()
    return dataclasses.replace(plan, model=model.reference, installed=model)


def _want(base: httpx2.URL, name: str, record: FileRecord) -> Want:
    address = base.copy_with(raw_path=base.join(quote(name)).raw_path.split(b"?")[0] + _query(base))
    return Want(str(address), name, record.sha256, record.bytes, record.bytes)


def _query(base: httpx2.URL) -> bytes:
    """The manifest's query goes with every file: it may be what lets a reader in."""
    return b"?" + base.query if base.query else b""


async def _with_signature(client: Client, base: httpx2.URL, offer: Offer) -> Offer:
    """The offer with the signature that lies beside the manifest, if one does."""
    address = base.copy_with(raw_path=base.raw_path.split(b"?")[0] + b".sig" + _query(base))
    assert address.path.endswith(SIGNATURE)
    try:
        return dataclasses.replace(offer, signature=await fetch_small(client, str(address), _MOST_SIGNATURE))
    except (ModelNotFoundError, DownloadError):  # where a key is pinned, its lack is an error then
        return offer


async def _fetch_all(
    client: Client, wants: Mapping[str, Want], records: Mapping[str, FileRecord], folder: Path, wishes: Wishes
) -> None:
    """Brings every file into the folder, of an installed model that has it or of the server; the largest first."""
    here = await asyncio.to_thread(InstalledFiles)
    gate = asyncio.Semaphore(wishes.jobs)

    async def bring(name: str, want: Want) -> None:
        record, target = records[name], folder / name
        async with gate:
            there = await asyncio.to_thread(here.get, record)
            if there is not None:
                await asyncio.to_thread(add_file, there, target, record, link=True)
                wishes.progress(name, record.bytes, record.bytes)
                return
            await fetch(
                client,
                want,
                lambda want, done: wishes.progress(want.name, done, want.bytes),
                lambda path: add_file(path, target, record, link=True),
            )

    async with asyncio.TaskGroup() as group:
        for name, want in sorted(wants.items(), key=lambda item: -records[item[0]].bytes):
            group.create_task(bring(name, want))


def _clear(wants: Mapping[str, Want]) -> None:
    for want in wants.values():
        want.blob.remove()


async def _archive(url: str, policy: Policy, wishes: Wishes) -> Pulled:
    name = parse(url).path.rpartition("/")[2]
    want = Want(url, name, wishes.sha256, None, model_limit())
    done: list[Pulled] = []
    async with open_client(policy, wishes.patience, wishes.jobs) as client:
        if wishes.dry_run:
            return Pulled("download", url, None, None, (Item(name, None, want.arrived),))
        make_room(0)
        try:
            await fetch(
                client,
                want,
                lambda want, done: wishes.progress(want.name, done, want.bytes),
                lambda path: done.append(install_archive(path, wishes, url)),
            )
        except (InputError, UsageError):  # what is in it will not be better the next time
            want.blob.remove()
            raise
    want.blob.remove()
    return done[0]
