"""The folder of an `.mlpackage`: its manifest, the model specification, the blob files beside it.

Knows the layout (`Manifest.json`, `Data/…`) and refuses what leads out of it. Must not know what a program says
(reader.py) or how blob files are laid out (blob.py). A compiled model, `.mlmodelc`, is opened as one too: compiled.py
makes the specification that it stands for.

    model.mlpackage/
      Manifest.json                               rootModelIdentifier, itemInfoEntries: id -> path below Data
      Data/com.apple.CoreML/model.mlmodel         the specification, a protobuf message
      Data/com.apple.CoreML/weights/weight.bin    named `@model_path/weights/weight.bin` in the specification
"""

from __future__ import annotations

import copy
import hashlib
from os import PathLike
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lilims.core.errors import PackageError, UnsupportedError
from lilims.core.files import read_json, sha256_file

from .blob import BlobFile
from .compiled import PROGRAM, files_of, is_compiled, read_compiled, refuse_other_compiled
from .pipeline import PIPELINES, read_members
from .spec import parse_model

__all__ = ["MODEL_PATH", "Package"]

MODEL_PATH = "@model_path/"
_HOSTILE = "the package is damaged, or made to read other files: do not use it"
_MAX_SPEC = (2 << 30) - 1  # protobuf's own limit
_MAX_MANIFEST = 16 << 20


class Package:
    """An opened `.mlpackage` or `.mlmodelc`. Blob files are mapped when they are first asked for.

    Attributes:
        path: the package's folder.
        spec: the `Model` message (spec.py): an ML Program, or a pipeline of such.
        spec_path: the file that it was read from; what it calls `@model_path` is the folder of that file.
        member: the name of the pipeline's member that this is; "" for a package as a whole.
        members: of a pipeline, its models by name and in order, all over the files of this folder; else empty.

    Raises:
        PackageError: something is missing, damaged, or leads out of the folder.
        UnsupportedError: not an ML Program: an old neural network, an encrypted model.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        _refuse_other_things(self.path)
        self.spec_path, self._root = _root_model(self.path)
        if is_compiled(self.path):
            self.spec = read_compiled(self.path)
        else:
            self.spec = parse_model(_read(self.spec_path), where=str(self.spec_path))
            _refuse_other_models(self.spec, self.path)
        self._blobs: dict[str, BlobFile] = {}
        self.member = ""
        self.members: dict[str, Package] = {}
        if self.spec.WhichOneof("Type") in PIPELINES:
            members = read_members(self.spec, str(self.path))
            self.members = {name: self._member(name, spec) for name, spec in members.items()}

    def _member(self, name: str, spec: Any) -> Package:
        found = copy.copy(self)
        found.member, found.spec, found.members, found._blobs = name, spec, {}, {}
        return found

    @staticmethod
    def identity(path: Path) -> tuple[object, ...]:
        """What tells one state of a package on disk from another, cheap to find: its files' paths, sizes and times.

        Raises:
            PackageError: as the constructor.
        """
        _refuse_other_things(path)
        spec, _ = _root_model(path)
        try:
            beside = files_of(path) if is_compiled(path) else sorted(spec.parent.glob("weights/*"))
            files = [(file.resolve(), file.stat()) for file in (spec, *beside)]
        except (OSError, RuntimeError) as exc:  # a link to nowhere, or to itself
            raise PackageError(f"cannot be read: {exc}", where=spec.parent / "weights") from exc
        return tuple((path, found.st_size, found.st_mtime_ns) for path, found in files)

    def blob_file(self, name: str) -> BlobFile:
        """The mapped blob file that the specification calls `name`, such as "@model_path/weights/weight.bin"."""
        if name not in self._blobs:
            if not name.startswith(MODEL_PATH):
                raise PackageError(f"blob file {name!r} is not relative to {MODEL_PATH}", where=self.spec_path)
            path = _inside(self._root, self.spec_path.parent, name[len(MODEL_PATH) :])
            self._blobs[name] = BlobFile(path)
        return self._blobs[name]

    def close_blobs(self) -> None:
        """Lets go of the blob files: they are unmapped once nothing that was read from them is left."""
        self._blobs.clear()

    def sha256(self) -> str:
        """A hash of all files of the package, names included; it reads them all."""
        digest = hashlib.sha256()
        for file in sorted(p for p in self.path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(self.path).as_posix()}\0{sha256_file(file)}\n".encode())
        return digest.hexdigest()


def _refuse_other_things(path: Path) -> None:
    if not path.exists():
        raise PackageError("no such package", where=path, hint="check the path")
    if path.is_dir() and is_compiled(path):
        refuse_other_compiled(path)
    if path.is_file():
        if path.suffix == ".mlmodel":
            _refuse_other_models(parse_model(_read(path), where=str(path)), path)
            raise UnsupportedError("a bare specification without its package", where=path, hint="use the .mlpackage")
        raise PackageError(
            "not an .mlpackage folder", where=path, hint="an ML Program is a folder with a Manifest.json"
        )


def _refuse_other_models(spec: Any, path: Path) -> None:
    kind = spec.WhichOneof("Type")
    if kind == "mlProgram" or kind in PIPELINES:
        return
    if kind is None:
        raise PackageError("the specification holds no model", where=path, hint="the file is damaged or encrypted")
    if kind.startswith("neuralNetwork"):
        raise UnsupportedError(
            f"this is a model of the old {kind} format, not an ML Program",
            where=path,
            hint="convert it again with convert_to='mlprogram'",
        )
    raise UnsupportedError(f"this is a {kind} model, not an ML Program", where=path, hint="only ML Programs run here")


def _root_model(package: Path) -> tuple[Path, Path]:
    """The file of the specification, and the folder that nothing may lead out of."""
    if is_compiled(package):
        return _inside(package, package, PROGRAM), package
    file = package / "Manifest.json"
    if not file.is_file():
        raise PackageError(
            "not an .mlpackage: it has no Manifest.json", where=package, hint="pass the .mlpackage folder itself"
        )
    manifest = read_json(file, limit=_MAX_MANIFEST, error=PackageError)
    try:
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        relative = entry["path"]
    except (KeyError, TypeError) as exc:
        raise PackageError("names no root model", where=file, hint="the package is damaged") from exc
    if not isinstance(relative, str):
        raise PackageError("the root model's path is not text", where=file, hint="the package is damaged")
    root = package / "Data"
    return _inside(root, root, relative), root


def _inside(root: Path, base: Path, relative: str) -> Path:
    """`base / relative`, an existing regular file below `root` after all links are followed."""
    pure = PurePosixPath(relative)
    absolute = pure.is_absolute() or PureWindowsPath(relative).anchor or PureWindowsPath(relative).drive
    if absolute or ".." in PureWindowsPath(relative).parts or "\0" in relative or not relative:
        raise PackageError(f"the path {relative!r} leads out of the package", where=root, hint=_HOSTILE)
    path = base.joinpath(*pure.parts)
    try:
        inside = path.resolve().is_relative_to(root.resolve())
        regular = path.is_file()
    except (OSError, RuntimeError, ValueError) as exc:
        raise PackageError(f"cannot be read: {exc}", where=path) from exc
    if not inside:
        raise PackageError("a link leads out of the package", where=path, hint=_HOSTILE)
    if not regular:
        raise PackageError("the package lacks this file", where=path, hint="copy the whole folder again")
    return path


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_SPEC:
            raise PackageError("larger than a specification can be (2 GB)", where=path)
        return path.read_bytes()
    except OSError as exc:
        raise PackageError(f"cannot be read: {exc.strerror}", where=path) from exc
