"""A checkpoint: its config and its tensors by name, read one at a time.

Knows what lies in a Hugging Face folder beside the tensors, and that adapters may change these as they are read.
Must not know any architecture or scheme.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lilims.core import manifest as m
from lilims.core.errors import CheckpointError, UnsupportedModelError
from lilims.core.files import read_json

from .tensor_files import SUFFIXES, find_files, hash_of

if TYPE_CHECKING:
    from ..architectures import Architecture
    from ..gguf.kept import Kept
    from .adapter import Adapter, Update

__all__ = ["Checkpoint", "open_checkpoint", "refuse_other_files", "require"]

_AGAIN = "fetch the checkpoint again, all files of it"


class Checkpoint:
    """A Hugging Face model folder, its tensors safetensors or PyTorch state dicts.

    Attributes:
        folder: the folder.
        config: config.json as it stands.
        generation_config: generation_config.json, or an empty table.
        kind: what the manifest calls such a source.
        hub: where on a hub it was downloaded from, if it was.
    """

    kind: Literal["huggingface", "gguf"] = "huggingface"
    hub: m.Hub | None = None
    _adapters: tuple[Adapter, ...] = ()

    def __init__(self, place: Path) -> None:
        """Reads the config and the tensors' names of a folder, or of a file beside its config.json."""
        self.folder = place if place.is_dir() else place.parent
        self.config = self._table("config.json", required=True)
        self.generation_config = self._table("generation_config.json", required=False)
        self._tensors = find_files(place)
        self._updates: dict[str, list[Update]] = {}

    def _table(self, name: str, *, required: bool) -> dict[str, Any]:
        path = self.folder / name
        if not required and not path.is_file():
            return {}
        value = read_json(path, error=CheckpointError)
        if not isinstance(value, dict):
            raise CheckpointError("not a JSON object", where=path, hint=_AGAIN)
        return value

    @property
    def config_path(self) -> Path:
        """What messages about the config name."""
        return self.folder / "config.json"

    @property
    def companions(self) -> Path:
        """The folder with the tokenizer's files."""
        return self.folder

    @property
    def licence(self) -> str | None:
        """What the checkpoint's own metadata say; a model card may say more."""
        return None

    @property
    def keep(self) -> Callable[[str], Kept] | None:
        """Gives a tensor in a form that keeps its codes; None where tensors are floats."""
        return None

    def adapted(self, architecture: Architecture) -> Architecture:
        """The architecture with its tensors under the names that they have here."""
        return architecture

    @property
    def names(self) -> list[str]:
        """Names of all tensors, sorted."""
        return self._tensors.names

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, from the header."""
        return self._tensors.shape(name)

    def dtype(self, name: str) -> str:
        """What the file calls a tensor's type: F32, BF16, Q4_0."""
        return self._tensors.dtype(name)

    def tensor(self, name: str, rows: slice | None = None) -> NDArray[np.float32]:
        """A tensor, or some rows of it, as float32, freshly read, with what adapters change in it.

        Raises:
            CheckpointError: no such tensor, not floating point, or it holds NaN or infinite values.
        """
        values = self._tensors.read(name, rows)
        for update in self._updates.get(name, ()):
            with np.errstate(over="ignore", invalid="ignore"):
                values = update(values, rows)
            if not np.isfinite(values).all():
                raise CheckpointError(
                    f"an adapter makes values of tensor {name!r} infinite",
                    where=self.folder,
                    hint="its lora_alpha is wrong for its rank, or the adapter was trained to nothing: try another one",
                )
        return values

    def adapt(self, adapter: Adapter, prefixes: tuple[str, ...]) -> set[str]:
        """Takes an adapter on, to be merged whenever a tensor is read; returns the tensors that it changes.

        Raises:
            CheckpointError, UnsupportedModelError: it does not fit these tensors.
        """
        updates = adapter.updates({name: self.shape(name) for name in self.names}, prefixes)
        for name, update in updates.items():
            if update.replaces and name in self._updates:
                raise UnsupportedModelError(
                    f"replaces {name!r}, which another adapter changes",
                    where=adapter.folder,
                    hint="take one of the two",
                )
            self._updates.setdefault(name, []).append(update)
        self._adapters += (adapter,)
        return set(updates)

    @cached_property
    def _own_sha256(self) -> str:
        return hash_of(sorted({self.folder / "config.json", *self._tensors.paths}))

    @property
    def sha256(self) -> str:
        """SHA-256 over all that the values depend on: the source, and what adapters change in it."""
        own = self._own_sha256
        if not self._adapters:
            return own
        return hashlib.sha256("\n".join([own, *(adapter.sha256 for adapter in self._adapters)]).encode()).hexdigest()

    @property
    def record(self) -> m.Source:
        """What the manifest says of the source; its hash is over config.json and all tensor files, in name order."""
        adapters = [m.Adapter(name=a.folder.resolve().name, sha256=a.sha256) for a in self._adapters]
        name = self.hub.repo if self.hub else self.folder.resolve().name
        return m.Source(kind=self.kind, name=name, sha256=self._own_sha256, hub=self.hub, adapters=adapters)


def open_checkpoint(source: Path) -> Checkpoint:
    """Opens the checkpoint at `source`.

    Raises:
        CheckpointError: nothing there, or it is damaged.
        UnsupportedModelError: a kind of file that lilims does not read.
    """
    if source.is_file():
        from ..gguf import GGUFCheckpoint, is_gguf

        if source.suffix not in SUFFIXES and is_gguf(source):
            return GGUFCheckpoint(source)
        refuse_other_files(source, SUFFIXES)
    require(source)
    return Checkpoint(source)


def refuse_other_files(source: Path, known: Collection[str]) -> None:
    """Raises UnsupportedModelError for a file with another ending than those that are known."""
    if source.is_file() and source.suffix not in known:
        raise UnsupportedModelError(
            "is a file; a checkpoint is a folder with config.json and safetensors, a GGUF file or a PyTorch file",
            where=source,
            hint="name the folder",
        )


def require(source: Path) -> None:
    """Raises CheckpointError where nothing is."""
    if not source.exists():
        raise CheckpointError(
            f"no such {'file' if source.suffix in ('.gguf', *SUFFIXES) else 'folder'}",
            where=source,
            hint="check the path; a model of the Hugging Face hub is hf://org/name",
        )
