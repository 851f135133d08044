"""A checkpoint: its config and its tensors by name, read one at a time.

Knows the Hugging Face folder layout: config.json, model.safetensors or shards with an index. Must not know any
architecture or scheme.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import CheckpointError, UnsupportedModelError
from lilims.core.files import read_json, sha256_file

from .safetensors import SafetensorsFile

__all__ = ["Checkpoint", "open_checkpoint"]

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_AGAIN = "fetch the checkpoint again, all files of it"


class Checkpoint:
    """A Hugging Face model folder.

    Attributes:
        folder: the folder.
        config: config.json as it stands.
        generation_config: generation_config.json, or an empty table.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = self._table("config.json", required=True)
        self.generation_config = self._table("generation_config.json", required=False)
        self._files = self._open_files()

    def _table(self, name: str, *, required: bool) -> dict[str, Any]:
        path = self.folder / name
        if not required and not path.is_file():
            return {}
        value = read_json(path, error=CheckpointError)
        if not isinstance(value, dict):
            raise CheckpointError("not a JSON object", where=path, hint=_AGAIN)
        return value

    def _open_files(self) -> Mapping[str, SafetensorsFile]:
        index = self.folder / _INDEX
        if not index.is_file():
            if not (self.folder / _SINGLE).is_file():
                raise CheckpointError(
                    f"holds neither {_SINGLE} nor {_INDEX}",
                    where=self.folder,
                    hint="lilims reads safetensors checkpoints; save the model with save_pretrained()",
                )
            file = SafetensorsFile(self.folder / _SINGLE)
            return dict.fromkeys(file.entries, file)
        table = read_json(index, error=CheckpointError)
        weight_map = table.get("weight_map") if isinstance(table, dict) else None
        if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
            raise CheckpointError("has no weight_map from tensor names to files", where=index, hint=_AGAIN)
        files: dict[str, SafetensorsFile] = {}
        for name in sorted(set(weight_map.values())):
            if Path(name).name != name or name in ("", ".", ".."):
                raise CheckpointError(f"names the file {name!r} outside its folder", where=index, hint=_AGAIN)
            files[name] = SafetensorsFile(self.folder / name)
        for tensor, name in weight_map.items():
            if tensor not in files[name].entries:
                raise CheckpointError(
                    f"tensor {tensor!r} is not in {name}, as the index says", where=index, hint=_AGAIN
                )
        return {tensor: files[name] for tensor, name in weight_map.items()}

    @property
    def names(self) -> list[str]:
        """Names of all tensors, sorted."""
        return sorted(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, from the header."""
        return self._files[name].entries[name].shape

    def tensor(self, name: str) -> NDArray[np.float32]:
        """A tensor as float32, freshly read.

        Raises:
            CheckpointError: no such tensor, not floating point, or it holds NaN or infinite values.
        """
        if name not in self._files:
            raise CheckpointError(f"tensor {name!r} is missing", where=self.folder, hint=_AGAIN)
        file = self._files[name]
        if not file.entries[name].dtype.endswith(("F16", "F32", "F64")):
            raise CheckpointError(
                f"tensor {name!r} is {file.entries[name].dtype}, not floating point",
                where=file.path,
                hint="lilims quantises by itself: start from the float checkpoint",
            )
        values = np.asarray(file.tensor(name), dtype=np.float32)
        if not np.isfinite(values).all():
            raise CheckpointError(f"tensor {name!r} holds NaN or infinite values", where=file.path, hint=_AGAIN)
        return values

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over config.json and all tensor files: each one's name and hash, in name order."""
        digest = hashlib.sha256()
        for path in sorted({self.folder / "config.json", *(file.path for file in self._files.values())}):
            digest.update(f"{path.name} {sha256_file(path)}\n".encode())
        return digest.hexdigest()


def open_checkpoint(source: Path) -> Checkpoint:
    """Opens the checkpoint at `source`.

    Raises:
        CheckpointError: nothing there, or it is damaged.
        UnsupportedModelError: a kind of file that lilims does not read.
    """
    if source.is_file():
        raise UnsupportedModelError(
            "is a file; a checkpoint is a folder with config.json and safetensors", where=source, hint="name the folder"
        )
    if not source.is_dir():
        raise CheckpointError("no such folder", where=source, hint="check the path")
    return Checkpoint(source)
