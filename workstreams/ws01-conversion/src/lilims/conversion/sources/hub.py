"""Downloads a checkpoint from the Hugging Face hub, when its name was given.

Knows how such names are written and which files a conversion needs. Must not know what is in them.
Files stay in the hub's own cache; nothing is asked of the hub unless a user names a model of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilims.core import manifest as m
from lilims.core.errors import CheckpointError, LilimsError, MissingDependencyError, ModelNotFoundError
from lilims.core.privacy import hub_on

__all__ = ["HubName", "download", "hub_errors", "hub_name", "local", "open_hub"]

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"(?P<explicit>hf:/{{1,2}})?(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[\w./-]{{1,128}}))?")
_SMALL = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json"
    r"|merges\.txt|tokenizer\.model|chat_template\.(jinja|json)|additional_chat_templates/[\w-]{1,64}\.jinja|README\.md|LICEN[SC]E[\w.-]{0,20}"
)
_WEIGHTS = (  # the first kind that is there
    re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?"),
    re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?"),
)


@dataclass(frozen=True)
class HubName:
    """A model on the hub: `org/name`, and a branch, tag or commit."""

    repo: str
    revision: str | None

    def __str__(self) -> str:
        return f"hf://{self.repo}" + (f"@{self.revision}" if self.revision else "")


def hub_name(source: str | Path) -> HubName | None:
    """The model of the hub that `source` names, if it names one.

    That is `hf://org/name[@revision]`; or `org/name[@revision]`, unless there is such a path, or a folder `org`, in
    which it may have been meant to be.
    """
    text = source.as_posix() if isinstance(source, Path) else source  # a Path has made hf:// hf:/
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    if not found["explicit"] and (Path(text).exists() or Path(text).parent.exists()):
        return None
    return HubName(found["repo"], found["revision"])


def local(source: str | Path, *, weights: bool = True) -> tuple[Path, m.Hub | None]:
    """Where `source` lies on this machine, once it was downloaded if it is a model of the hub."""
    named = hub_name(source)
    return (Path(source), None) if named is None else download(named, weights=weights)


def wanted_files(names: Sequence[str], *, weights: bool = True) -> list[str]:
    """The files of a repository that a conversion needs: those in its root, of PyTorch's only without safetensors."""
    kinds = [[name for name in names if kind.fullmatch(name)] for kind in _WEIGHTS]
    tensors = next((found for found in kinds if found), []) if weights else []
    return sorted([name for name in names if _SMALL.fullmatch(name)] + tensors)


def download(name: HubName, *, weights: bool = True) -> tuple[Path, m.Hub]:
    """Downloads what a conversion needs into the hub's cache; offline, takes it from there.

    Args:
        weights: whether the tensors are needed.

    Returns:
        The folder, and what the manifest says of it.

    Raises:
        MissingDependencyError: huggingface_hub is not installed.
        ModelNotFoundError: the hub has no such model or revision, it is gated, or the hub cannot be reached.
        CheckpointError: the model is there, but not as a checkpoint that lilims reads.
    """
    library, online = open_hub()
    if not online:
        return _cached(name, library)
    with hub_errors(name.repo, str(name)):
        info = library.HfApi().model_info(name.repo, revision=name.revision)
        files = wanted_files([s.rfilename for s in info.siblings or []], weights=weights)
        _check(name, files, weights)
        folder = Path(library.snapshot_download(name.repo, revision=name.revision, allow_patterns=files))
    return folder, m.Hub(repo=name.repo, commit=folder.name)


def open_hub() -> tuple[Any, bool]:
    """The hub's library, and whether the user allows the network at all.

    Raises:
        MissingDependencyError: huggingface_hub is not installed.
    """
    allowed = hub_on()
    try:
        import huggingface_hub
        from huggingface_hub import constants
        from huggingface_hub.utils import disable_progress_bars
    except ImportError as exc:
        raise MissingDependencyError(
            "a model of the hub needs huggingface_hub", hint="pip install 'lilims-conversion[hub]'"
        ) from exc
    if not sys.stderr.isatty():
        disable_progress_bars()
    return huggingface_hub, allowed and not constants.HF_HUB_OFFLINE


@contextmanager
def hub_errors(repo: str, where: str) -> Iterator[None]:
    """Turns what the hub's library raises into an error that says what to do.

    Raises:
        ModelNotFoundError: the hub has no such model or revision, it is gated, or the hub cannot be reached.
    """
    from huggingface_hub import errors

    try:
        yield
    except LilimsError:
        raise
    except errors.GatedRepoError as exc:
        raise ModelNotFoundError(
            "is gated: its authors want you to accept their terms first",
            where=where,
            hint=f"accept them at https://huggingface.co/{repo}, then `hf auth login`",
        ) from exc
    except errors.RepositoryNotFoundError as exc:
        raise ModelNotFoundError(
            "the hub has no such model, or it is private",
            where=where,
            hint="check the name, or `hf auth login`; a folder is named by its path, as ./folder",
        ) from exc
    except errors.RevisionNotFoundError as exc:
        raise ModelNotFoundError(
            "the model has no such revision", where=where, hint="after @ stands a branch, a tag or a commit"
        ) from exc
    except Exception as exc:  # the library lets its network layer's own errors through
        raise ModelNotFoundError(
            f"the hub cannot be reached ({type(exc).__name__})",
            where=where,
            hint="check the network and try again, what is there is kept; a folder is named by its path, as ./folder",
        ) from exc


def _check(name: HubName, files: Sequence[str], weights: bool) -> None:
    if "config.json" not in files:
        raise CheckpointError(
            "the model has no config.json", where=str(name), hint="GGUF files: download one and name the file"
        )
    if weights and not any(kind.fullmatch(file) for kind in _WEIGHTS for file in files):
        raise CheckpointError(
            "the model has neither safetensors nor pytorch_model.bin",
            where=str(name),
            hint="GGUF files: download one and name the file",
        )


def _cached(name: HubName, library: Any) -> tuple[Path, m.Hub]:
    """What an earlier download has left."""
    config = library.try_to_load_from_cache(name.repo, "config.json", revision=name.revision)
    if not isinstance(config, str):
        raise ModelNotFoundError(
            "is not in the hub's cache, and the network is switched off",
            where=str(name),
            hint="unset LILIMS_OFFLINE and HF_HUB_OFFLINE, or name a folder by its path, as ./folder",
        )
    folder = Path(config).parent
    return folder, m.Hub(repo=name.repo, commit=folder.name)
