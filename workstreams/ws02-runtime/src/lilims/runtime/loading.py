"""Loads a model folder: checks manifest, files, contract and tokenizer, opens the packages.

Knows what has to hold before anything runs. Must not know how a model is used (model.py).
"""

from __future__ import annotations

import hashlib
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from lilims.core.errors import ManifestError, TokenizerError, UsageError
from lilims.core.events import emit
from lilims.core.files import sha256_file
from lilims.core.integrity import Verify, verify_files
from lilims.core.manifest import Manifest, read_manifest
from lilims.core.settings import settings
from lilims.core.usage import hold

from . import contract
from .compatibility import check_version
from .executor import (
    Choice,
    Executor,
    ExecutorName,
    PackageExecutor,
    Precision,
    choose,
    open_executor,
    settings_choice,
)
from .machine import check_fits
from .model import Model
from .split import SplitExecutor

if TYPE_CHECKING:
    from lilims.context import DecoderShape
    from lilims.tokenizer import Tokenizer

__all__ = ["load"]


def load(
    path: str | PathLike[str],
    *,
    compute_units: str | None = None,
    executor: Choice = "auto",
    context: int | None = None,
    precision: Precision = "fast",
    threads: int | None = None,
    verify: Verify = "auto",
    isolate: bool = False,
) -> Model:
    """Loads a model: checks its manifest, files, contract and tokenizer, and opens the package.

    Functions are loaded when they are first used; `Model.prepare` does it ahead.

    Args:
        path: a model folder, the package in it, or the name of an installed model.
        compute_units: for Core ML: CPU_ONLY, CPU_AND_GPU, CPU_AND_NE or ALL; None is what the package was made for.
        executor: "coreml", "portable", or "auto": the setting `LILIMS_EXECUTOR`, else Core ML where it can run.
        context: the most tokens that a state is to hold, where that is less than the package's; None is the package's.
        precision: "fast" (quantised products with int8 activations), "exact" (float32) or "fp16" (every result
            rounded to fp16); the last two are the portable executor's and choose it.
        threads: of the portable executor; None is the setting `LILIMS_THREADS`, else one per physical core.
        verify: which files are compared with their recorded SHA-256: "auto", those that are small or have been touched
            since the last check; "full", all; "sizes", none. Sizes are always compared.
        isolate: run the package in a process of its own: what kills or hangs it is an error then, and sessions go on.

    Where Core ML was chosen by "auto" and is lost (the package does not load there, or kills the process that it is
    isolated in), the portable executor takes over, with a RuntimeWarning.

    Raises:
        UsageError: the context is longer than the package's.
        ModelNotFoundError: there is no such model.
        ManifestError: the manifest is missing, invalid, or asks for another version of lilims.
        IntegrityError: a file is missing or differs.
        ContractError: the package is not a decoder as the manifest and the contract say.
        OutOfMemoryError: the machine has not the memory; the hint says which context, or how many bytes, would do.
        TokenizerError: the tokenizer is damaged, or has ids that the model has not.
        PackageError, UnsupportedError, ExecutionError: the package is damaged, or cannot run here.
    """
    started = time.perf_counter()
    folder = _folder(path)
    release = hold(folder)
    try:
        model = _load(folder, compute_units, executor, context, precision, threads, verify, isolate)
    except BaseException:
        release()
        raise
    weakref.finalize(model, release)
    emit("load.done", name=model.manifest.name, executor=model.executor, seconds=time.perf_counter() - started)
    return model


def _load(
    folder: Path,
    compute_units: str | None,
    executor: Choice,
    context: int | None,
    precision: Precision,
    threads: int | None,
    verify: Verify,
    isolate: bool,
) -> Model:
    from lilims.tokenizer import generation_defaults

    manifest = read_manifest(folder)
    check_version(folder, manifest)
    verify_files(folder, manifest, verify=verify)
    name = choose(settings_choice(settings().executor) if executor == "auto" else executor, precision)
    shape = _shape(folder, manifest, context)
    check_fits(manifest, executor=name, context=shape.context)
    found = contract.check_model(folder, manifest)
    open_all = _Opener(folder, manifest, found, compute_units, precision, threads, isolate)
    opened = open_all.with_fallback() if name == "coreml" and executor == "auto" else open_all(name)
    return Model(
        folder, manifest, opened, _tokenizer(folder, manifest),
        shape=shape, defaults=generation_defaults(folder), precision=precision,
    )  # fmt: skip


@dataclass(frozen=True)
class _Opener:
    """Opens all packages of a model with one executor."""

    folder: Path
    manifest: Manifest
    found: Mapping[str, contract.Interfaces]
    compute_units: str | None
    precision: Precision
    threads: int | None
    isolate: bool

    def __call__(self, name: ExecutorName) -> Executor:
        open_one = self._host() if self.isolate else open_executor

        def open_package(package: str) -> PackageExecutor:
            return open_one(
                self.folder / package,
                name=name,
                identity=lambda: _identity(self.folder, self.manifest, package),
                compute_units=self.compute_units or self.manifest.compute_units,
                precision=self.precision,
                threads=self.threads if self.threads is not None else settings().threads or None,
            )

        manifest = self.manifest
        if not manifest.parts:
            return open_package(manifest.package)
        return SplitExecutor(manifest.parts, self.found, open_package)

    def with_fallback(self) -> Executor:
        from .isolation import FallbackExecutor

        return FallbackExecutor(lambda: self("coreml"), lambda: self("portable"))

    def _host(self) -> Callable[..., PackageExecutor]:
        from .isolation import IsolationHost

        return IsolationHost().open


def _shape(folder: Path, manifest: Manifest, context: int | None) -> DecoderShape:
    shape = contract.decoder_shape(manifest, package=folder / manifest.package)
    if context is None:
        return shape
    if not 1 <= context <= shape.context:
        raise UsageError(
            f"the package holds 1 to {shape.context} tokens, not {context}",
            hint=f"lilims retarget {folder} --context {context} makes one of it that does",
        )
    return replace(shape, context=context)


def _folder(path: str | PathLike[str]) -> Path:
    from lilims.core.locate import is_package, locate

    found = locate(str(Path(path)))
    if not is_package(found):
        return found
    if not (found.parent / "manifest.json").is_file():
        raise ManifestError(
            "not a decoder that lilims can call: there is no manifest.json beside it",
            where=found,
            hint="`lilims inspect` shows what it takes; lilims.runtime.portable.MLModel runs it as a plain ML Program",
        )
    return found.parent


def _identity(folder: Path, manifest: Manifest, package: str) -> str:
    """A hash that stands for a package's bytes: each file's recorded hash, and its time, which a change moves.

    Recorded hashes save reading gigabytes at each load; a file that the manifest does not record is read.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in (folder / package).rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        content = manifest.files[name].sha256 if name in manifest.files else sha256_file(path)
        digest.update(f"{name}\0{content}\0{path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _tokenizer(folder: Path, manifest: Manifest) -> Tokenizer | None:
    """The folder's tokenizer, None where the manifest records no file of one.

    Raises:
        TokenizerError: it is damaged, or has ids that the model has not.
    """
    from lilims.tokenizer import Tokenizer, has_tokenizer

    if not has_tokenizer(manifest.files):
        return None
    tokenizer = Tokenizer.load(folder)
    if tokenizer.vocab_size > manifest.architecture.vocab_size:
        raise TokenizerError(
            f"has ids up to {tokenizer.vocab_size - 1}, the model's vocabulary is {manifest.architecture.vocab_size}",
            where=folder,
            hint="the tokenizer belongs to another model: convert again from a complete checkpoint",
        )
    return tokenizer
