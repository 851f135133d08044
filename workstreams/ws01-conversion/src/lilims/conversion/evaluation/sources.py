"""What gives the logits of a window: a package run by lilims, or a checkpoint run by transformers.

Knows how either is opened and run. Must not know what logits are used for. A `Spec` is a plain description that can be
sent to another process; it is opened there.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import CheckpointError, InputError, MissingDependencyError, ModelNotFoundError
from lilims.core.files import read_json, sha256_file
from lilims.core.locate import is_model, is_package, locate
from lilims.core.manifest import FILE_NAME, identity, read_manifest

from .windows import Window

if TYPE_CHECKING:
    from lilims.core.manifest import Manifest
    from lilims.tokenizer import Tokenizer

__all__ = ["CheckpointSpec", "Logits", "PackageSpec", "Source", "Spec", "aligned", "find"]

Logits = NDArray[np.float32]


class Source(Protocol):
    """Something that is open and gives logits."""

    def rows(self, window: Window) -> Iterator[Logits]:
        """Blocks [n, vocab] that, joined, are the logits before the window's targets."""


class Spec(Protocol):
    """Something that can be opened."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def kind(self) -> str:
        """`package` or `transformers`."""

    @property
    def sha256(self) -> str:
        """The hash of what it is."""

    @property
    def place(self) -> str:
        """Where it lies."""

    @property
    def stamp(self) -> str:
        """A hash that takes no time, by which a machine knows that it sees the same."""

    @property
    def versions(self) -> dict[str, str]:
        """What computes it: a part of the key under which its logits are kept."""

    @property
    def vocab_size(self) -> int:
        """Width of its logits."""

    def tokenizer(self) -> Tokenizer | None:
        """Its tokenizer, if it has one."""

    def open(self) -> Source: ...


@dataclass(frozen=True)
class PackageSpec:
    """A model folder, run by the portable executor in float32 (`precision="exact"`), unless compute units are named.

    Attributes:
        folder: the model folder.
        threads: of one op.
        compute_units: run it through Core ML on these, in the package's own arithmetic; None does not.
    """

    folder: Path
    threads: int = 1
    compute_units: str | None = None

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.folder)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def kind(self) -> str:
        return "package"

    @property
    def sha256(self) -> str:
        return identity(self.manifest)

    @property
    def place(self) -> str:
        return str(self.folder)

    @property
    def stamp(self) -> str:
        return self.sha256  # of the manifest, which has the files'

    @property
    def versions(self) -> dict[str, str]:
        from importlib import metadata

        from lilims.core import version

        if self.compute_units:
            system = platform.mac_ver()[0]
            return {"lilims": version(), "macos": system, "compute_units": self.compute_units}
        return {"lilims": version(), "onnxruntime": metadata.version("onnxruntime"), "threads": str(self.threads)}

    @property
    def vocab_size(self) -> int:
        return self.manifest.architecture.vocab_size

    def tokenizer(self) -> Tokenizer | None:
        from lilims.tokenizer import Tokenizer, has_tokenizer

        return Tokenizer.load(self.folder) if has_tokenizer(self.manifest.files) else None

    def open(self) -> Source:
        from lilims.runtime import load

        if self.compute_units:
            return _Package(load(self.folder, executor="coreml", compute_units=self.compute_units))
        return _Package(load(self.folder, precision="exact", threads=self.threads))


class Scoring(Protocol):
    """The part of `lilims.runtime.Model` that is needed."""

    def session(self) -> Any:
        """A new, empty state with `score(ids)`."""


class _Package:
    def __init__(self, model: Scoring) -> None:
        self._model = model

    def rows(self, window: Window) -> Iterator[Logits]:
        done = 0
        for block in self._model.session().score(window.inputs):
            yield block[max(0, window.first - done) :]
            done += len(block)


@dataclass(frozen=True)
class CheckpointSpec:
    """A Hugging Face folder, run by transformers in float32.

    Attributes:
        folder: config.json and weights.
        threads: of torch.
    """

    folder: Path
    threads: int = 1

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def kind(self) -> str:
        return "transformers"

    @property
    def sha256(self) -> str:
        """Over names and hashes of config.json and the weights."""
        digest = hashlib.sha256()
        for path in self._files():
            digest.update(f"{path.name}\0{sha256_file(path)}\n".encode())
        return digest.hexdigest()

    @property
    def place(self) -> str:
        return str(self.folder)

    @property
    def stamp(self) -> str:
        """Over names and sizes, and config.json."""
        config = (self.folder / "config.json").read_text("utf-8")
        return key(config, [(path.name, path.stat().st_size) for path in self._files()])

    def _files(self) -> list[Path]:
        return [
            path
            for path in sorted(self.folder.iterdir())
            if path.name == "config.json" or path.suffix in (".safetensors", ".bin") and path.is_file()
        ]

    @property
    def versions(self) -> dict[str, str]:
        torch, transformers = _transformers()
        return {
            "torch": torch.__version__, "transformers": transformers.__version__, "threads": str(self.threads)
        }  # fmt: skip

    @property
    def vocab_size(self) -> int:
        config = read_json(self.folder / "config.json", error=CheckpointError)
        found = config.get("vocab_size") if isinstance(config, dict) else None
        if not isinstance(found, int) or found < 1:
            raise CheckpointError("has no vocab_size", where=self.folder / "config.json")
        return found

    def tokenizer(self) -> Tokenizer | None:
        from lilims.tokenizer import Tokenizer, has_tokenizer

        return Tokenizer.load(self.folder) if has_tokenizer([path.name for path in self.folder.iterdir()]) else None

    def open(self) -> Source:
        torch, transformers = _transformers()
        torch.set_num_threads(self.threads)
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                self.folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True,
                trust_remote_code=False,  # else it may ask whether to run what lies in the folder
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError) as exc:
            raise CheckpointError(
                f"transformers cannot load it: {exc}",
                where=self.folder,
                hint="take a package for the reference: lilims convert FOLDER -o DIR --quantize fp16",
            ) from exc
        return _Checkpoint(model.eval(), self.vocab_size)


class _Checkpoint:
    def __init__(self, model: Any, vocab_size: int) -> None:
        self._model, self._vocab_size = model, vocab_size

    def rows(self, window: Window) -> Iterator[Logits]:
        import torch

        with torch.no_grad():
            logits = self._model(torch.tensor([window.inputs]), use_cache=False).logits
        yield logits[0, window.first :, : self._vocab_size].float().numpy()


def _transformers() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as exc:
        raise MissingDependencyError(
            "a checkpoint as the reference needs torch and transformers",
            hint="pip install torch transformers; or convert it with --quantize fp16 and name that package",
        ) from exc
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers


def find(reference: str, *, threads: int = 1) -> PackageSpec | CheckpointSpec:
    """What a user means by a reference: a model folder, an installed model, or a Hugging Face folder.

    Raises:
        ModelNotFoundError: it is none of these.
    """
    folder = Path(reference).expanduser()
    if not is_model(folder) and (folder / "config.json").is_file():
        return CheckpointSpec(folder.absolute(), threads)
    try:
        return PackageSpec(model_folder(reference), threads)
    except ModelNotFoundError as exc:
        raise ModelNotFoundError(
            f"no reference: {exc.message}",
            where=exc.where,
            hint="name a package in fp16 (lilims convert SRC -o DIR --quantize fp16), or a Hugging Face folder",
        ) from exc


def model_folder(model: str) -> Path:
    """The model folder that a user means; a package in it means the folder.

    Raises:
        ModelNotFoundError: there is none.
        InputError: it is a package that no manifest stands beside.
    """
    from lilims.core.errors import ManifestError

    found = locate(model)
    folder = (found.parent if is_package(found) else found).absolute()  # as other processes need it
    if not (folder / FILE_NAME).is_file():
        raise ManifestError(
            "not a decoder that lilims can call: there is no manifest.json beside it",
            where=found,
            hint="`lilims predict` runs any ML Program; only a model folder can be evaluated",
        )
    return folder


def ids_sha256(ids: NDArray[np.int64] | list[int]) -> str:
    """The hash of token ids."""
    return hashlib.sha256(np.asarray(ids, "<i8").tobytes()).hexdigest()


def key(*parts: Any) -> str:
    """The hash of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def aligned(one: Iterator[Logits], other: Iterator[Logits]) -> Iterator[tuple[Logits, Logits]]:
    """The rows of two sources, in pairs of blocks of as many rows.

    Raises:
        InputError: one has more rows than the other.
    """
    a: Logits | None = None
    b: Logits | None = None
    while True:
        a = next(_filled(one), None) if a is None else a
        b = next(_filled(other), None) if b is None else b
        if a is None or b is None:
            if a is not b:
                raise InputError("the model and the reference give different numbers of logits")
            return
        count = min(len(a), len(b))
        yield a[:count], b[:count]
        a, b = a[count:] if count < len(a) else None, b[count:] if count < len(b) else None


def _filled(blocks: Iterator[Logits]) -> Iterator[Logits]:
    return (block for block in blocks if len(block))
