"""Models on this machine: a model folder, a package, an archive, a checkpoint.

Knows how the kinds are told apart. Must not know servers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lilims.core.errors import IntegrityError, UsageError
from lilims.core.files import read_bytes, scratch_directory, sha256_file
from lilims.core.locate import is_package
from lilims.core.manifest import FILE_NAME

from ..archive.read import extract, is_archive
from ..archive.write import SIGNATURE
from ..gc import make_room
from ..importing import import_package, name_from, plan_import
from ..offer import add_file, read_offer
from ..pulling import Item, Pulled, Wishes, convert_checkpoint, no_conversion, no_key
from ..signing import check_signature
from ..space import downloads_dir, model_limit

__all__ = ["install_archive", "install_folder", "pull_local"]

_MOST_MANIFEST = 16 << 20
_MOST_SIGNATURE = 1 << 16


def pull_local(path: Path, wishes: Wishes) -> Pulled:
    """Installs what lies at a path.

    Raises:
        LilimsError: as `pull`.
    """
    where = str(path)
    if path.is_file() and is_archive(path.name):
        return install_archive(path, wishes, where)
    if (path / FILE_NAME).is_file():
        return install_folder(path, wishes, where, move=False)
    if (path.is_dir() and is_package(path)) or path.suffix == ".mlmodel":  # which is refused by what it holds
        return _import(path, wishes, where)
    return convert_checkpoint(path, wishes, where, name_from(path.with_suffix("") if path.is_file() else path))


def install_folder(folder: Path, wishes: Wishes, where: str, *, move: bool) -> Pulled:
    """Installs a model folder; with `move` its files may become the installed ones, else they are copied.

    Raises:
        LilimsError: as `pull`.
    """
    raw = read_bytes(folder / FILE_NAME, limit=_MOST_MANIFEST)
    signed = (folder / SIGNATURE).is_file()
    signature = read_bytes(folder / SIGNATURE, limit=_MOST_SIGNATURE) if signed else None
    offer = read_offer(raw, where, name=wishes.name, sha256=wishes.sha256, version=wishes.version, signature=signature)
    no_conversion(wishes, offer.manifest)
    if wishes.key is not None:
        check_signature(raw, signature, wishes.key, where)
    items = tuple(Item(name, record.bytes, 0) for name, record in offer.manifest.files.items())
    if not wishes.force and (there := offer.installed()):
        return Pulled("none", where, there.reference, offer.bytes, installed=there)
    if wishes.dry_run:
        return Pulled("copy", where, offer.reference, offer.bytes, items)
    make_room(0 if move else offer.bytes)

    with offer.installing() as target:
        for name, record in offer.manifest.files.items():
            source = folder / name
            if not source.is_file():
                raise IntegrityError("the file is missing", where=source)
            if move and (source.stat().st_size != record.bytes or sha256_file(source) != record.sha256):
                raise IntegrityError(f"{name} is not what its manifest records", where=where)
            add_file(source, target / name, record, link=move)
            wishes.progress(name, record.bytes, record.bytes)
    model = offer.result()
    return Pulled("copy", where, model.reference, offer.bytes, items, installed=model)


def install_archive(archive: Path, wishes: Wishes, where: str) -> Pulled:
    """Unpacks an archive and installs what is in it: a model folder, or one package.

    Raises:
        LilimsError: as `pull`.
    """
    if wishes.sha256 is not None and (found := sha256_file(archive)) != wishes.sha256:
        raise IntegrityError(
            f"the archive has the SHA-256 {found}, {wishes.sha256} is pinned", where=where,
            hint="it was changed: nothing was installed; ask who offers it",
        )  # fmt: skip
    wishes = replace(wishes, sha256=None)  # it was that of the archive
    with _unpacked(archive) as folder:
        if (folder / FILE_NAME).is_file():
            return install_folder(folder, wishes, where, move=True)
        packages = [path for path in [folder, *sorted(folder.iterdir())] if path.is_dir() and is_package(path)]
        if len(packages) != 1:
            raise UsageError(
                "holds neither a model folder nor one package", where=where,
                hint="an archive has manifest.json, or one .mlpackage, at its top or in its one folder",
            )  # fmt: skip
        return _import(packages[0], wishes, where)


@contextmanager
def _unpacked(archive: Path) -> Iterator[Path]:
    """The folder of an archive's content, which is its one folder where it has nothing else."""
    with scratch_directory(downloads_dir(), "unpack") as folder:
        make_room(archive.stat().st_size)
        extract(archive, folder, most=model_limit())
        inside = list(folder.iterdir())
        alone = len(inside) == 1 and inside[0].is_dir() and not is_package(inside[0])
        yield inside[0] if alone else folder


def _import(package: Path, wishes: Wishes, where: str) -> Pulled:
    no_conversion(wishes)
    no_key(wishes, where)
    if wishes.sha256 is not None:
        raise UsageError("--sha256 is for models and archives, not for packages", where=where)
    files = ((path.relative_to(package).as_posix(), path) for path in sorted(package.rglob("*")) if path.is_file())
    items = tuple(Item(name, path.stat().st_size, 0) for name, path in files)
    if wishes.dry_run:
        plan = plan_import(package, name=wishes.name, force=wishes.force)
        return Pulled("import", where, plan.reference, plan.bytes, items)
    model = import_package(package, name=wishes.name, force=wishes.force)
    return Pulled("import", where, model.reference, model.bytes, items, installed=model)
