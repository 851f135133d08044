"""The tensor files of a folder: which they are, and their tensors by name.

Knows how Hugging Face and PyTorch name weight files, single and sharded. Must not know a config, or what tensors are.
safetensors come before PyTorch's pickles where a folder has both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import CheckpointError, UnsupportedModelError
from lilims.core.files import read_json, sha256_file

from .pytorch import PyTorchFile
from .safetensors import SafetensorsFile, TensorEntry, widened

__all__ = ["SUFFIXES", "TensorFile", "TensorFiles", "find_files", "hash_of"]

_AGAIN = "fetch the checkpoint again, all files of it"
_PICKLES = (".bin", ".pt", ".pth")
SUFFIXES = (".safetensors", *_PICKLES)
_LEFT_BY_TRAINING = ("training_args", "optimizer", "scheduler", "scaler", "rng_state")


class TensorFile(Protocol):
    """A file with tensors: safetensors or a PyTorch state dict."""

    @property
    def path(self) -> Path: ...
    @property
    def entries(self) -> Mapping[str, TensorEntry]: ...
    def tensor(self, name: str, rows: slice | None = None) -> NDArray[Any]: ...


class TensorFiles:
    """Tensors by name, from one file or several.

    Attributes:
        where: the folder or file that messages name.
    """

    def __init__(self, where: Path, files: Mapping[str, TensorFile]) -> None:
        self.where = where
        self._files = files

    @property
    def names(self) -> list[str]:
        """Names of all tensors, sorted."""
        return sorted(self._files)

    @property
    def paths(self) -> list[Path]:
        """The files, sorted."""
        return sorted({file.path for file in self._files.values()})

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, from the header."""
        return self._files[name].entries[name].shape

    def dtype(self, name: str) -> str:
        """A tensor's type in safetensors' words: F32, BF16."""
        return self._files[name].entries[name].dtype

    def read(self, name: str, rows: slice | None = None) -> NDArray[np.float32]:
        """A tensor, or some rows of it, as float32, freshly read.

        Raises:
            CheckpointError: no such tensor, not floating point, or it holds NaN or infinite values.
        """
        if name not in self._files:
            raise CheckpointError(f"tensor {name!r} is missing", where=self.where, hint=_AGAIN)
        file = self._files[name]
        dtype = file.entries[name].dtype
        if not dtype.endswith(("F16", "F32", "F64")):
            raise CheckpointError(
                f"tensor {name!r} is {dtype}, not floating point",
                where=file.path,
                hint="lilims quantises by itself: start from the float checkpoint",
            )
        values = widened(file.tensor(name, rows), dtype)
        if not np.isfinite(values).all():
            raise CheckpointError(f"tensor {name!r} holds NaN or infinite values", where=file.path, hint=_AGAIN)
        return values


def find_files(place: Path, stem: str = "model", pickled: str = "pytorch_model") -> TensorFiles:
    """The tensors of a folder, or of one file.

    Looked for in this order: `<stem>.safetensors` with an index, alone; `<pickled>.bin` with an index, alone; the only
    other file that PyTorch may have written.

    Raises:
        CheckpointError: there is none, or it is damaged.
        UnsupportedModelError: there are several and none has the usual name.
        MissingDependencyError: it is PyTorch's, and torch is not installed.
    """
    if place.is_file():
        return _single(place, place)
    for name in (f"{stem}.safetensors", f"{pickled}.bin"):
        if (place / f"{name}.index.json").is_file():
            return _sharded(place, place / f"{name}.index.json")
        if (place / name).is_file():
            return _single(place, place / name)
    found = sorted(p for p in place.iterdir() if p.suffix in _PICKLES and not p.stem.startswith(_LEFT_BY_TRAINING))
    if len(found) > 1:
        raise UnsupportedModelError(
            f"holds several files that may be the weights: {', '.join(p.name for p in found[:4])}",
            where=place,
            hint="name the file instead of the folder",
        )
    if not found:
        raise CheckpointError(
            f"holds neither {stem}.safetensors nor {stem}.safetensors.index.json, nor a PyTorch file",
            where=place,
            hint="save the model with save_pretrained(), or fetch the checkpoint again, all files of it",
        )
    return _single(place, found[0])


def _open(path: Path) -> TensorFile:
    return SafetensorsFile(path) if path.suffix == ".safetensors" else PyTorchFile(path)


def _single(where: Path, path: Path) -> TensorFiles:
    file = _open(path)
    return TensorFiles(where, dict.fromkeys(file.entries, file))


def _sharded(folder: Path, index: Path) -> TensorFiles:
    table = read_json(index, error=CheckpointError)
    weight_map = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        raise CheckpointError("has no weight_map from tensor names to files", where=index, hint=_AGAIN)
    files: dict[str, TensorFile] = {}
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name or name in ("", ".", ".."):
            raise CheckpointError(f"names the file {name!r} outside its folder", where=index, hint=_AGAIN)
        files[name] = _open(folder / name)
    for tensor, name in weight_map.items():
        if tensor not in files[name].entries:
            raise CheckpointError(f"tensor {tensor!r} is not in {name}, as the index says", where=index, hint=_AGAIN)
    return TensorFiles(folder, {tensor: files[name] for tensor, name in weight_map.items()})


def hash_of(paths: Sequence[Path]) -> str:
    """SHA-256 over files: each one's name and hash."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()
