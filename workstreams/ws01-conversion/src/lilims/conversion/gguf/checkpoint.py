"""A GGUF model as a checkpoint: config, tensors by ggml's names, codes, tokenizer files.

Knows how the parts of this package go together. Must not know schemes, or where tensors end up.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import CheckpointError, UnsupportedModelError

from ..architectures import Architecture
from ..sources.checkpoint import Checkpoint
from .files import GGUFFiles
from .header import MAGIC, TensorEntry
from .kept import Kept, read_values, survey
from .metadata import Facts, family_of, hf_config
from .tensors import EXPERTS, ROTARY_TENSORS, gguf_architecture
from .vocabulary import read_vocabulary, write_tokenizer

if TYPE_CHECKING:
    from ..sources.adapter import Adapter

__all__ = ["GGUFCheckpoint", "is_gguf"]

_MOST_EXPERTS = 4096


def is_gguf(path: Path) -> bool:
    """Whether a path is a GGUF file, by its name or its first bytes."""
    if path.suffix == ".gguf":
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


class GGUFCheckpoint(Checkpoint):
    """A model in GGUF, of one file or several. Matrices of experts stand under the name of their stack and a number."""

    kind: Literal["huggingface", "gguf"] = "gguf"

    def __init__(self, path: Path) -> None:
        """Reads headers and metadata.

        Raises:
            CheckpointError: a file is damaged, or its metadata makes no sense.
            UnsupportedModelError: a family, version or type that lilims does not read.
        """
        files = GGUFFiles(path)
        self.folder = files.path  # what messages name
        self._files_of = files
        self._entries = _unstacked(files.tensors)
        self._kept: dict[str, Kept] = {}
        name = files.metadata.get("general.architecture")
        if not isinstance(name, str):
            raise CheckpointError("has no general.architecture", where=files.path, hint="this is not a model's file")
        vectors = {name: self._vector(name) for name in ROTARY_TENSORS if name in files.tensors}
        facts = Facts(files.path, name, files.metadata, files.tensors, vectors)
        self._family = family_of(facts)
        embedding = self._entries.get("token_embd.weight")
        if embedding is None or len(embedding.shape) != 2:
            raise CheckpointError("tensor 'token_embd.weight' is missing", where=files.path, hint=_NO_WEIGHTS)
        self.config = hf_config(facts, self._family, embedding.shape[0])
        self._vocabulary = read_vocabulary(files.path, files.metadata)
        if self._vocabulary is not None and len(self._vocabulary.tokens) > embedding.shape[0]:
            raise self._vocabulary.error(
                f"has {len(self._vocabulary.tokens)} tokens for an embedding of {embedding.shape[0]} rows"
            )
        self.generation_config = self._ids()

    def _vector(self, name: str) -> list[float]:
        entry = self._entries[name]
        if len(entry.shape) != 1 or entry.shape[0] > 1 << 12:
            raise CheckpointError(f"tensor {name!r} has the shape {list(entry.shape)}", where=entry.path)
        values: list[float] = read_values(entry, name, 0, entry.shape[0]).tolist()
        return values

    def _ids(self) -> dict[str, Any]:
        if self._vocabulary is None:
            return {}
        ids: dict[str, Any] = {"eos_token_id": self._vocabulary.ends}
        for key, name in (("bos", "bos_token_id"), ("padding", "pad_token_id")):
            if key in self._vocabulary.special:
                ids[name] = self._vocabulary.special[key]
        return ids

    def adapted(self, architecture: Architecture) -> Architecture:
        names = self._files_of.tensors
        fused = self._family.gate_in_up and "blk.0.ffn_gate.weight" not in names
        return gguf_architecture(architecture, names, interleaved=self._family.interleaved, gate_in_up=fused)

    @property
    def config_path(self) -> Path:
        return self.folder

    @property
    def licence(self) -> str | None:
        """`general.license`."""
        found = self._files_of.metadata.get("general.license")
        return found[:100] if isinstance(found, str) else None

    @cached_property
    def companions(self) -> Path:
        """A folder with the tokenizer's files, which lasts as long as this checkpoint; empty where there is none."""
        folder = Path(tempfile.mkdtemp(prefix="lilims-gguf-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        if self._vocabulary is not None:
            write_tokenizer(self._vocabulary, folder)
        return folder

    @property
    def names(self) -> list[str]:
        return sorted(self._entries.keys() - set(ROTARY_TENSORS))

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name].shape

    def dtype(self, name: str) -> str:
        return self._entries[name].type

    def tensor(self, name: str, rows: slice | None = None) -> NDArray[np.float32]:
        """As `Checkpoint.tensor`; to the last bit what ggml makes of the codes."""
        entry = self._entries[name]
        first, last, _ = (rows or slice(None)).indices(entry.shape[0])
        return read_values(entry, name, first, max(first, last))

    @property
    def keep(self) -> Callable[[str], Kept]:
        return self._survey

    def _survey(self, name: str) -> Kept:
        """Once for each tensor, since several roles may share it."""
        if name not in self._kept:
            self._kept[name] = survey(self._entries[name], name)
        return self._kept[name]

    def adapt(self, adapter: Adapter, prefixes: tuple[str, ...]) -> set[str]:
        raise UnsupportedModelError(
            "is a GGUF file: adapters are merged into floats, under the names of a Hugging Face checkpoint",
            where=self.folder,
            hint="convert the checkpoint that the file was made of, with the adapter",
        )

    @cached_property
    def _own_sha256(self) -> str:
        """Of the file; of each file's name and hash where there are several."""
        return self._files_of.sha256


_NO_WEIGHTS = "the file holds a vocabulary only, or is not a language model's"


def _unstacked(tensors: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
    """Every tensor by name; stacks of experts [E, N, K] as E matrices `blk.0.ffn_up_exps.3.weight`."""
    found: dict[str, TensorEntry] = {}
    for name, entry in tensors.items():
        stem, _, part = name.rpartition(".")
        if not stem.endswith(EXPERTS) or len(entry.shape) != 3:
            found[name] = entry
            continue
        experts, *shape = entry.shape
        if experts > _MOST_EXPERTS:
            raise CheckpointError(f"tensor {name!r} is of {experts} experts", where=entry.path)
        size = entry.bytes // experts
        for i in range(experts):
            one = replace(entry, shape=tuple(shape), offset=entry.offset + i * size, bytes=size)
            found[f"{stem}.{i}.{part}"] = one
    return found
