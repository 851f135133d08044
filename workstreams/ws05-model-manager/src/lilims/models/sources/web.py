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

from lilims.core.errors import ModelNotFoundError, UnsupportedError
from lilims.core.manifest import FILE_NAME, FileRecord
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
from ..store import Installed
from .local import install_archive

__all__ = ["pull_web"]

_MOST_MANIFEST = 16 << 20
_MOST_SIGNATURE = 1 << 16


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
        here = await asyncio.to_thread(InstalledFiles)
        records = offer.manifest.files
        items = tuple(
            Item(name, want.bytes, records[name].bytes if records[name] in here else want.arrived)
            for name, want in wants.items()
        )
        if not wishes.force and (there := offer.installed()):
            if not wishes.dry_run:  # a pull that was killed behind its last step may have left some
                _clear(wants)
            return Pulled("none", url, there.reference, offer.bytes, installed=there)
        plan = Pulled("download", url, offer.reference, offer.bytes, items)
        if wishes.dry_run:
            return plan
        offer = await _with_signature(client, base, offer)
        if wishes.key is not None:
            check_signature(raw, offer.signature, wishes.key, url)
        make_room(plan.missing or 0)
        found = await _fetch_all(client, wants, records, here, wishes)
    model = await asyncio.to_thread(_install, offer, found, wants)
    return Pulled("download", url, model.reference, offer.bytes, items, installed=model)


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
    client: Client, wants: Mapping[str, Want], records: Mapping[str, FileRecord], here: InstalledFiles, wishes: Wishes
) -> dict[str, Path]:
    """Where each file's bytes lie: in an installed model that has them, or in the downloads. The largest come first."""
    found: dict[str, Path] = {}
    gate = asyncio.Semaphore(wishes.jobs)

    async def bring(name: str, want: Want) -> None:
        async with gate:
            there = await asyncio.to_thread(here.get, records[name])
            if there is None:
                there = await fetch(client, want, lambda want, done: wishes.progress(want.name, done, want.bytes))
            else:
                wishes.progress(name, records[name].bytes, records[name].bytes)
            found[name] = there

    async with asyncio.TaskGroup() as group:
        for name, want in sorted(wants.items(), key=lambda item: -records[item[0]].bytes):
            group.create_task(bring(name, want))
    return found


def _install(offer: Offer, found: Mapping[str, Path], wants: Mapping[str, Want]) -> Installed:
    model = offer.install(lambda name, record, target: add_file(found[name], target, record, link=True))
    _clear(wants)
    return model


def _clear(wants: Mapping[str, Want]) -> None:
    for want in wants.values():
        want.blob.remove()


async def _archive(url: str, policy: Policy, wishes: Wishes) -> Pulled:
    name = parse(url).path.rpartition("/")[2]
    want = Want(url, name, wishes.sha256, None, model_limit())
    async with open_client(policy, wishes.patience, wishes.jobs) as client:
        if wishes.dry_run:
            return Pulled("download", url, None, None, (Item(name, None, want.arrived),))
        make_room(0)
        path = await fetch(client, want, lambda want, done: wishes.progress(want.name, done, want.bytes))
    done = await asyncio.to_thread(install_archive, path, wishes, url)
    want.blob.remove()
    return done
