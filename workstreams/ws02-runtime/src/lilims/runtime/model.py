"""A model that is loaded: text in, text out. `load` makes it from a model folder.

Knows how manifest, tokenizer, contract, executor and loop fit together. Must not know how any of them works.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import ManifestError, TokenizerError, UsageError
from lilims.core.events import emit
from lilims.core.files import sha256_file
from lilims.core.integrity import Verify, verify_files
from lilims.core.manifest import Manifest, read_manifest

from . import contract
from .embedding import EmbeddingFile
from .executor import Choice, Executor, PackageExecutor, Precision, choose, open_executor, settings_choice
from .generation import Detokenizer, Token, check_room, generate
from .sampling import Sampler, SamplingParameters
from .session import Session
from .split import SplitExecutor
from .statistics import Statistics

if TYPE_CHECKING:
    from lilims.tokenizer import Tokenizer

__all__ = ["Model", "load"]


class Model:
    """A decoder that is ready to generate. Made by `load`; generations on it do not share a state.

    Attributes:
        folder: the model folder.
        manifest: what it holds.
        stats: figures of the generation that was started last; they grow while it runs.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, executor: Executor, tokenizer: Tokenizer | None = None
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.stats = Statistics()
        self._executor = executor
        self._tokenizer = tokenizer
        self._prepared = False
        self._shape = contract.decoder_shape(manifest, package=folder / manifest.package)
        self._embedding = EmbeddingFile(folder, manifest.embedding) if manifest.embedding else None
        own = tokenizer.eos_ids if tokenizer else ()
        self._stop_ids = frozenset((*manifest.tokens.eos, *own))

    @property
    def context(self) -> int:
        """The most tokens of a prompt and what is generated after it."""
        return self.manifest.context

    @property
    def vocab_size(self) -> int:
        """Ids are below this number; the width of all logits."""
        return self.manifest.architecture.vocab_size

    @property
    def executor(self) -> str:
        """Who runs the package: coreml or portable."""
        return self._executor.name

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            TokenizerError: the model folder holds none.
        """
        if self._tokenizer is None:
            raise TokenizerError("the model has no tokenizer", where=self.folder, hint="give token ids instead of text")
        return self._tokenizer

    def session(self) -> Session:
        """A new, empty KV state with its own position."""
        return Session(self._executor, self._shape, self.vocab_size, self._embedding)

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop_at_eos: bool = True,
    ) -> Iterator[str]:
        """Continues a prompt; yields text as it comes, never half a character. The prompt is not repeated.

        Args: as `generate_tokens`.
        """
        tokens = self.generate_tokens(
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stop_at_eos=stop_at_eos,
        )
        return (token.text for token in tokens if token.text)

    def generate_tokens(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop_at_eos: bool = True,
    ) -> Iterator[Token]:
        """Continues a prompt; yields tokens as they come. Arguments are checked at once, work starts with the first.

        Args:
            prompt: text (the tokenizer adds its BOS), or token ids as they are.
            max_tokens: most tokens to generate; None goes on until an eos or a full context.
            temperature: 0 is greedy.
            top_k: how many of the likeliest tokens may be drawn; 0 is all.
            top_p: the likeliest tokens that make up this share may be drawn; 1 is all.
            seed: of the random numbers; None takes one from the operating system (see `stats.seed`).
            stop_at_eos: end at any eos id of the manifest and of the tokenizer; it is the last token, without text.

        Raises:
            UsageError: an argument is out of range, the prompt is empty, or an id is outside the vocabulary.
            ContextOverflowError: the prompt does not fit the context. A generation that fills it ends with "length".
            TokenizerError: the prompt is text and the model has no tokenizer.
            ExecutionError: while generating: the executor failed, or the logits are not finite.
        """
        sampler = Sampler(SamplingParameters(temperature, top_k, top_p, seed))
        if max_tokens is not None and max_tokens < 1:
            raise UsageError(f"max_tokens must be at least 1, not {max_tokens}", hint="leave it out for no bound")
        begun = time.perf_counter()
        ids = self._encode(prompt)
        check_room(ids, self.context)
        encoding = time.perf_counter() - begun
        self.prepare()  # once for all generations: not part of the time to the first token, as encoding is
        started = time.perf_counter() - encoding
        self.stats = Statistics(prompt_tokens=len(ids), seed=sampler.seed if temperature else None)
        return generate(
            self.session(),
            ids,
            sampler=sampler,
            decoder=self._decoder(ids),
            stop_ids=self._stop_ids if stop_at_eos else frozenset(),
            max_tokens=max_tokens,
            statistics=self.stats,
            started=started,
        )

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits of every position of a sequence on an empty state, float32 [n, vocab], through `score`.

        Raises:
            ContextOverflowError: more ids than the context holds.
            UsageError: an id is outside the vocabulary.
        """
        check_room(ids, self.context)
        parts = list(self.session().score(ids))
        return np.concatenate(parts) if parts else np.zeros((0, self.vocab_size), np.float32)

    def step_logits(self, ids: Sequence[int], *, prefill: int = 0) -> NDArray[np.float32]:
        """The same logits by the way that generation takes: `prefill` ids at once, then one `decode` step for each.

        Returns:
            float32 [n, vocab], or [n - prefill + 1, vocab] from the last prefilled id on. For tests and verification.
        """
        session = self.session()
        rows = [session.append(ids[:prefill])] if prefill else []
        rows += [session.append([token]) for token in ids[prefill:]]
        return np.stack(rows) if rows else np.zeros((0, self.vocab_size), np.float32)

    def prepare(self) -> None:
        """Loads the functions that generating takes, and warms them up where that helps; the first generation does it.

        `load` leaves this out: evaluation needs `score` alone, and each loaded function takes memory.

        Raises:
            UnsupportedOpError, ExecutionError: a function cannot run here.
        """
        if self._prepared:
            return
        for kind in ("prefill", "decode"):
            if kind in self._shape.functions:  # larger buckets are loaded when a text reaches them
                self._executor.function(self._shape.variant(kind, 1))
        if self._executor.warms_up:
            self._warm_up()
        self._prepared = True

    def _warm_up(self) -> None:
        """Runs decode and prefill once on a state that is thrown away, as a first run may take minutes."""
        scratch = self.session()
        scratch.append([self.manifest.tokens.padding] * min(2, self.context))
        if scratch.position < self.context:
            scratch.append([self.manifest.tokens.padding])

    def _encode(self, prompt: str | Sequence[int]) -> list[int]:
        if not isinstance(prompt, str):
            ids = [int(token) for token in prompt]
        else:
            ids = self.tokenizer.encode(prompt)
            bos = self.tokenizer.bos_id if self.manifest.tokens.bos is None else self.manifest.tokens.bos
            if not ids and bos is not None:
                ids = [bos]  # nothing to continue: begin a text
        if not ids:
            raise UsageError("the prompt is empty and the model has no token to begin a text", hint="give a prompt")
        for token in ids:
            if not 0 <= token < self.vocab_size:
                raise UsageError(f"token {token} is outside the vocabulary of {self.vocab_size}")
        return ids

    def _decoder(self, prompt: Sequence[int]) -> Detokenizer:
        """A stream decoder that has seen the prompt: what follows may depend on it (a space, half a character)."""
        if self._tokenizer is None:
            return _NoText()
        from lilims.tokenizer import StreamDecoder

        decoder = StreamDecoder(self._tokenizer)
        for token in prompt:
            decoder.push(token)
        return decoder


class _NoText:
    """Stands in for a tokenizer that is not there."""

    def push(self, token: int) -> str:
        return ""

    def finish(self) -> str:
        return ""


def load(
    path: str | PathLike[str],
    *,
    executor: Choice = "auto",
    compute_units: str | None = None,
    precision: Precision = "fast",
    threads: int | None = None,
    verify: Verify = "auto",
) -> Model:
    """Loads a model: checks its manifest, files, contract and tokenizer, and opens the package.

    Functions are loaded when they are first used; `Model.prepare` does it ahead.

    Args:
        path: a model folder, the package in it, or the name of an installed model.
        executor: "coreml", "portable", or "auto": the setting `LILIMS_EXECUTOR`, else Core ML where it can run.
        compute_units: for Core ML: CPU_ONLY, CPU_AND_GPU, CPU_AND_NE or ALL; None is what the package was made for.
        precision: "fast" (quantised products with int8 activations), "exact" (float32) or "fp16" (every result
            rounded to fp16); the last two are the portable executor's and choose it.
        threads: of the portable executor; None is the setting `LILIMS_THREADS`, else one per physical core.
        verify: which files are compared with their recorded SHA-256: "auto", those that are small or have been touched
            since the last check; "full", all; "sizes", none. Sizes are always compared.

    Raises:
        ModelNotFoundError: there is no such model.
        ManifestError: the manifest is missing, invalid, or asks for another version of lilims.
        IntegrityError: a file is missing or differs.
        ContractError: the package is not a decoder as the manifest and the contract say.
        TokenizerError: the tokenizer is damaged, or has ids that the model has not.
        PackageError, UnsupportedError, ExecutionError: the package is damaged, or cannot run here.
    """
    from lilims.core.settings import settings

    started = time.perf_counter()
    folder = _folder(path)
    manifest = read_manifest(folder)
    _check_version(folder, manifest)
    verify_files(folder, manifest, verify=verify)
    name = choose(settings_choice(settings().executor) if executor == "auto" else executor, precision)
    found = contract.check_model(folder, manifest)

    def open_package(package: str) -> PackageExecutor:
        return open_executor(
            folder / package,
            name=name,
            identity=lambda: _identity(folder, manifest, package),
            compute_units=compute_units or manifest.compute_units,
            precision=precision,
            threads=threads if threads is not None else settings().threads or None,
        )

    whole = not manifest.parts
    opened = open_package(manifest.package) if whole else SplitExecutor(manifest.parts, found, open_package)
    model = Model(folder, manifest, opened, _tokenizer(folder, manifest))
    emit("load.done", name=manifest.name, executor=name, seconds=time.perf_counter() - started)
    return model


def _folder(path: str | PathLike[str]) -> Path:
    from lilims.core.locate import locate

    found = locate(str(Path(path)))
    if found.suffix != ".mlpackage":
        return found
    if not (found.parent / "manifest.json").is_file():
        raise ManifestError(
            "not a decoder that lilims can call: there is no manifest.json beside it",
            where=found,
            hint="`lilims inspect` shows what it takes; lilims.runtime.portable.MLModel runs it as a plain ML Program",
        )
    return found.parent


def _check_version(folder: Path, manifest: Manifest) -> None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    from lilims.core import version

    where = folder / "manifest.json"
    try:
        wanted = SpecifierSet(manifest.compatible_runtime)
    except InvalidSpecifier as exc:
        raise ManifestError(
            f"compatible_runtime: {manifest.compatible_runtime!r} is not a range of versions", where=where
        ) from exc
    if not wanted.contains(version(), prereleases=True):
        raise ManifestError(
            f"the model asks for lilims {wanted}, this is {version()}",
            where=where,
            hint="convert the model again, or install a version in that range",
        )


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
    from lilims.tokenizer import Tokenizer

    if not {"tokenizer.json", "tokenizer.model", "vocab.json"} & manifest.files.keys():
        return None
    tokenizer = Tokenizer.load(folder)
    if tokenizer.vocab_size > manifest.architecture.vocab_size:
        raise TokenizerError(
            f"has ids up to {tokenizer.vocab_size - 1}, the model's vocabulary is {manifest.architecture.vocab_size}",
            where=folder,
            hint="the tokenizer belongs to another model: convert again from a complete checkpoint",
        )
    return tokenizer
