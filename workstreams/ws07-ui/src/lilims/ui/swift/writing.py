"""The exported folder: the sources as they are, the app's names, the model.

Knows files. Must not know tokenizers, templates or what Swift makes of them. Nothing is filled into the sources: names
stand in `Config/App.xcconfig`, everything about the model in its own folder.

    DIR/Lilims.xcodeproj, LilimsKit/, App/, AppUITests/, Config/, README.md    `starter/`, byte for byte
    DIR/Models/NAME@VERSION.lilims/   manifest.json, starter.json, packages, embedding: part of the app
    DIR/Import/NAME@VERSION.lilims/   the same, where it is too large for that

The same model and options give the same bytes. The folder is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lilims.core.errors import IntegrityError, OutputExistsError, TokenizerError, UsageError
from lilims.core.files import new_directory, sha256_file, storage_errors
from lilims.core.manifest import FileRecord, Manifest, write_manifest

from .record import STARTER, check_model, starter_record

if TYPE_CHECKING:
    from lilims.tokenizer import Tokenizer

__all__ = ["EMBEDDED", "Bundling", "Export", "SwiftApp", "export_swift"]

Bundling = Literal["auto", "always", "never"]
EMBEDDED = 200_000_000
"""Bytes of a model up to which it goes into the app by itself."""

_SOURCES = Path(__file__).parent / "starter"
_RENAMED = {"gitignore": ".gitignore"}  # so that it does not count in this repository
_LEFT_OUT = frozenset({".build", ".swiftpm", "DerivedData", "__pycache__"})
_OWN = ("Lilims.xcodeproj", STARTER)
"""What tells an export, of an app or of a model alone, from a folder of something else."""
_BLOCK = 1 << 20
_APP_NAME = re.compile(r"[^\W_][\w .-]{0,29}")
_BUNDLE_ID = re.compile(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,5}")


@dataclass(frozen=True)
class SwiftApp:
    """What is said of the app.

    Attributes:
        name: what people see below its icon.
        bundle_id: in reversed order of a domain, as the App Store wants it.

    Raises:
        UsageError: one is not what Xcode takes.
    """

    name: str = "Lilims"
    bundle_id: str = "org.example.lilims"

    def __post_init__(self) -> None:
        if not _APP_NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} is no app name",
                hint="up to 30 letters, digits, spaces, dots and hyphens, a letter first",
            )
        if not _BUNDLE_ID.fullmatch(self.bundle_id):
            raise UsageError(f"{self.bundle_id!r} is no bundle identifier", hint="such as org.example.app")

    def settings(self) -> str:
        """`Config/App.xcconfig`."""
        return (
            "// Names of this app, as `lilims export --to swift` was told them.\n"
            f"LILIMS_APP_NAME = {self.name}\nPRODUCT_BUNDLE_IDENTIFIER = {self.bundle_id}\n"
        )


@dataclass(frozen=True)
class Export:
    """What was written, or would be.

    Attributes:
        folder: the exported folder.
        model: the model's folder inside it; the same where the model alone was exported.
        bundled: whether the model is part of the app.
        bytes: of the model.
        chat: None, or why the model knows no conversations.
    """

    folder: Path
    model: Path
    bundled: bool
    bytes: int
    chat: str | None


def export_swift(
    folder: Path,
    target: Path,
    *,
    app: SwiftApp | None = None,
    bundle: Bundling = "auto",
    model_only: bool = False,
    replace: bool = False,
    dry_run: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Export:
    """Writes a model folder as a Swift package and an app.

    Args:
        folder: the model's.
        target: what is written.
        bundle: whether the model goes into the app; auto where it has at most `EMBEDDED` bytes.
        model_only: only the model's folder, for import in an app that there is.
        replace: `target` may be an earlier export, and what is in it is lost.
        dry_run: everything is checked, nothing is written.
        advance: is told how many bytes were copied.

    Raises:
        UnsupportedError: the Swift sources cannot run this model; the message says why.
        TokenizerError: it has no tokenizer.
        IntegrityError: a file of it is not what its manifest records.
        OutputExistsError: `target` exists, or is no export that `replace` could replace.
        UsageError: the model lies in `target`, or the other way round.
    """
    from lilims.core.manifest import read_manifest

    _check_target(folder, target, replace=replace)
    manifest = read_manifest(folder)
    check_model(manifest, folder)
    files = _model_files(manifest)
    _check(folder, {name: file for name, file in manifest.files.items() if dry_run or name not in files})
    record, why = starter_record(folder, manifest, _tokenizer(folder))
    size = sum(file.bytes for file in files.values())
    bundled = not model_only and (bundle == "always" or (bundle == "auto" and size <= EMBEDDED))
    name = f"{manifest.name}@{manifest.version}.lilims"
    place = Path() if model_only else Path("Models" if bundled else "Import", name)
    if not dry_run:
        with new_directory(target, force=replace) as new:
            if not model_only:
                _write_sources(new, app or SwiftApp())
            _write_model(folder, new / place, manifest, files, record, advance)
    return Export(target, target / place, bundled, size, why)


def _check_target(folder: Path, target: Path, *, replace: bool) -> None:
    """Refuses the model, a folder that holds it, and what exists, unless that is an export and to be replaced."""
    model, place = folder.resolve(), target.resolve()
    if model.is_relative_to(place) or place.is_relative_to(model):
        inside = "the model's folder" if model == place else "in the model's folder"
        where = inside if place.is_relative_to(model) else "a folder that holds the model"
        raise UsageError(f"is {where}", where=target, hint="choose another -o")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not replace:
        raise OutputExistsError(
            "exists already", where=target, hint="choose another -o, or --yes, which loses what is in it"
        )
    if not any((target / name).exists() for name in _OWN):  # a slip such as `-o .` loses no other work
        raise OutputExistsError(
            "exists and is no export, so --yes does not replace it", where=target, hint="choose another -o"
        )


def _tokenizer(folder: Path) -> Tokenizer:
    from lilims.tokenizer import Tokenizer

    try:
        return Tokenizer.load(folder)
    except TokenizerError as exc:
        if exc.message == "holds no tokenizer":
            raise TokenizerError(
                "the model has no tokenizer, and the app speaks text", where=folder, hint="convert it again with one"
            ) from exc
        raise


def _model_files(manifest: Manifest) -> dict[str, FileRecord]:
    """The files that run: packages, and the embedding beside them."""
    roots = [f"{part.package}/" for part in manifest.packages()]
    extra = set() if manifest.embedding is None else {manifest.embedding.file}
    return {
        name: file
        for name, file in sorted(manifest.files.items())
        if name in extra or any(name.startswith(root) for root in roots)
    }


def _check(folder: Path, files: dict[str, FileRecord]) -> None:
    """Compares files with what the manifest records: those that are read and not copied (a tokenizer's), or all."""
    for name, file in files.items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != file.sha256:
            raise _damaged(path)


def _damaged(path: Path) -> IntegrityError:
    what = "is not what the manifest records" if path.is_file() else "is missing"
    return IntegrityError(what, where=path, hint="convert or pull the model again")


def _sources() -> Iterator[Path]:
    """The files of `starter/`, without what building leaves there."""
    for path in sorted(_SOURCES.rglob("*")):
        if path.is_file() and _LEFT_OUT.isdisjoint(path.relative_to(_SOURCES).parts):
            yield path


def _write_sources(new: Path, app: SwiftApp) -> None:
    for path in _sources():
        relative = path.relative_to(_SOURCES)
        target = new / relative.with_name(_RENAMED.get(relative.name, relative.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (new / "Config/App.xcconfig").write_text(app.settings(), "utf-8", newline="\n")
    (new / "Models").mkdir()  # the project refers to it, with or without a model
    (new / "Models/.gitkeep").touch()


def _write_model(
    folder: Path,
    target: Path,
    manifest: Manifest,
    files: dict[str, FileRecord],
    record: dict[str, Any],
    advance: Callable[[int], None],
) -> None:
    for name, file in files.items():
        _copy(folder / name, target / name, file, advance)
    text = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
    target.mkdir(parents=True, exist_ok=True)
    (target / STARTER).write_bytes(text)
    described = FileRecord(bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
    write_manifest(target, manifest.model_copy(update={"files": files | {STARTER: described}}))


def _copy(source: Path, target: Path, record: FileRecord, advance: Callable[[int], None]) -> None:
    """Copies a file piece by piece, and compares what was copied with what the manifest records."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    if not source.is_file():
        raise _damaged(source)
    with source.open("rb") as old, storage_errors(target), target.open("xb") as new:
        while block := old.read(_BLOCK):
            digest.update(block)
            new.write(block)
            advance(len(block))
    if digest.hexdigest() != record.sha256:
        raise _damaged(source)
