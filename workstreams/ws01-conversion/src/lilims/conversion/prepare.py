"""What is read and checked of a checkpoint before anything is written: config, headers, tokenizer, token ids.

Knows which files belong to a model. Must not know schemes, Core ML, or what is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilims.core import manifest as m
from lilims.core.errors import CheckpointError, UnsupportedModelError, UsageError
from lilims.core.events import emit

from .architectures import Architecture, Config, architecture_for
from .sources.checkpoint import Checkpoint, open_checkpoint
from .spec import DecoderSpec
from .weights.tensors import check_checkpoint

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """A checkpoint of which everything but the tensors' values has been read and checked."""

    checkpoint: Checkpoint
    architecture: Architecture
    spec: DecoderSpec
    names: dict[str, str]  # role → tensor in the checkpoint
    tokens: m.Tokens
    companions: list[Path]


def prepare(source: Path, *, adapters: Sequence[Path] = (), hub: m.Hub | None = None) -> Prepared:
    """Reads and checks a checkpoint's config, headers and tokenizer; nothing is written.

    Args:
        adapters: folders of LoRA adapters, which are merged as the tensors are read.
        hub: where the checkpoint was downloaded from.

    Raises:
        UsageError: adapters for a GGUF file.
        CheckpointError, UnsupportedModelError, TokenizerError: as `convert`.
    """
    checkpoint = open_checkpoint(source)
    checkpoint.hub = hub
    architecture = checkpoint.adapted(architecture_for(checkpoint.config, checkpoint.config_path))
    spec = architecture.spec(Config(checkpoint.config, checkpoint.config_path))
    names = check_checkpoint(checkpoint, architecture, spec)
    for folder in adapters:
        _adapt(checkpoint, folder, architecture, spec, names)
    return Prepared(checkpoint, architecture, spec, names, _tokens(checkpoint, spec), _companions(checkpoint, spec))


def _adapt(
    checkpoint: Checkpoint, folder: Path, architecture: Architecture, spec: DecoderSpec, names: Mapping[str, str]
) -> None:
    """Lets the checkpoint take an adapter on, if all that it changes has a place of its own in the model."""
    from .sources.adapter import Adapter

    if checkpoint.kind != "huggingface":
        raise UsageError("--adapter goes with a Hugging Face checkpoint, not with GGUF", hint="convert the float model")
    used = set(names.values()) - ({names["embedding"]} if spec.tied else set())
    if others := sorted(checkpoint.adapt(Adapter(folder), architecture.prefixes) - used):
        raise UnsupportedModelError(
            f"changes {others[0]!r}, which the model's head and embedding share"
            if spec.tied
            else f"changes {others[0]!r}, which is not part of a {spec.model_type} decoder",
            where=folder,
            hint="merge it with peft (merge_and_unload), save the model and convert that",
        )


def _companions(checkpoint: Checkpoint, spec: DecoderSpec) -> list[Path]:
    """Tokenizer files, generation config and licence texts. A model without a tokenizer takes ids only.

    Raises:
        TokenizerError: the tokenizer is damaged, or has ids that the model has not.
        CheckpointError: one of the files is a link to somewhere else.
    """
    from lilims.core.errors import TokenizerError
    from lilims.tokenizer import Tokenizer
    from lilims.tokenizer.files import find_source, tokenizer_files

    folder = checkpoint.companions
    files = [p for p in [*folder.glob("LICEN[SC]E*"), folder / "generation_config.json"] if p.is_file()]
    try:
        source = find_source(folder)
    except TokenizerError:
        emit("convert.no_tokenizer")
        return _without_strange_links(folder, files)
    files = _without_strange_links(folder, files + tokenizer_files(folder))
    try:
        size = Tokenizer.load(folder).vocab_size
    except TokenizerError as exc:
        exc.where = exc.where if folder == checkpoint.folder else str(checkpoint.folder)  # files that were made of it
        raise
    if size > spec.vocab_size:
        raise TokenizerError(
            f"has ids up to {size - 1}, config.json's vocab_size is {spec.vocab_size}",
            where=source,
            hint="the tokenizer belongs to another model: fetch the checkpoint again",
        )
    return files


def _without_strange_links(folder: Path, files: list[Path]) -> list[Path]:
    """The files, sorted. They are copied into a model that may be published: no link may fetch a private file.

    Links within the folder are the author's business, and the hub's cache links to `../../blobs`.
    """
    home = folder.resolve()
    for path in files:
        target = path.resolve()
        if not target.is_relative_to(home) and not target.is_relative_to(home.parent.parent / "blobs"):
            raise CheckpointError(
                "is a link that leads out of the checkpoint",
                where=path,
                hint="put the file itself there if you trust it, or remove the link",
            )
    return sorted(files)


def _ids(*values: Any) -> list[int]:
    """All token ids among config values that may be an id, a list of ids or absent; in order, each once."""
    flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(v for v in flat if type(v) is int and v >= 0))


def _tokens(checkpoint: Checkpoint, spec: DecoderSpec) -> m.Tokens:
    return tokens_of(checkpoint.config, checkpoint.generation_config, spec, checkpoint.folder)


def tokens_of(config: Mapping[str, Any], generation: Mapping[str, Any], spec: DecoderSpec, folder: Path) -> m.Tokens:
    """The ids that the decoding loop needs, from config.json and generation_config.json (or an empty table).

    Raises:
        CheckpointError: one is outside the vocabulary (its key is named).
    """
    for file, table in (("generation_config.json", generation), ("config.json", config)):
        for key in ("bos_token_id", "eos_token_id"):
            for token in _ids(table.get(key)):
                if token >= spec.vocab_size:
                    raise CheckpointError(
                        f"{key!r} is {token}, outside the vocabulary of {spec.vocab_size}",
                        where=folder / file,
                        hint="config.json and generation_config.json must be of one model",
                    )
    bos = _ids(generation.get("bos_token_id"), config.get("bos_token_id"))
    eos = _ids(generation.get("eos_token_id"), config.get("eos_token_id"))
    padding = [p for p in _ids(config.get("pad_token_id"), eos, [0]) if p < spec.vocab_size]
    return m.Tokens(bos=bos[0] if bos else None, eos=eos, padding=padding[0])
