"""Sessions that outlive the program: saved in one file, loaded into the same model.

Knows what makes two models the same for a session. Must not know the file's bytes (session_file.py).

A session goes on exactly where the weights and the tokenizer are those that it was saved with, whatever the folder is
called and whenever its files were copied. The cache is fp16 by contract, so another executor, or another precision, may
go on with it: each of them gives its own rounding, so that is said in a warning.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lilims.context import ContextPolicy
from lilims.core import version
from lilims.core.errors import UsageError
from lilims.core.files import sha256_file, write_atomic
from lilims.core.manifest import Manifest
from lilims.tokenizer.files import SOURCES

from .errors import OtherModelError, SessionFileError
from .session_file import encode_session, read_session_file

if TYPE_CHECKING:
    from .model import Model
    from .session import Session

__all__ = ["load_session", "model_identity", "save_session"]

_PAIR = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json")
_TOKENIZER = tuple(dict.fromkeys((*_PAIR, *SOURCES)))  # in this order they are hashed
_SAME = {"package": "weights", "tokenizer": "tokenizer", "state": "shape of the cache"}
_SIMILAR = ("executor", "precision")


def save_session(session: Session, path: str | PathLike[str], *, model: Model) -> None:
    """Saves what a session holds. The file is private (mode 0600), and written wholly or not at all.

    Args:
        session: one of the model's.
        path: the file; one that exists is replaced.
        model: the model that the session is of.

    Raises:
        StorageError: it cannot be written.
        UsageError: another thread uses the session.
        ExecutionError: the state cannot be read.
    """
    about = {
        "lilims": version(),
        "model": model.manifest.name,
        **model_identity(model.folder, model.manifest),
        "executor": model.executor,
        "precision": model.precision,
    }
    write_atomic(Path(path), encode_session(about, session.snapshot()), private=True)


def load_session(model: Model, path: str | PathLike[str]) -> Session:
    """A new session of the model that holds what was saved, with the policy that it had.

    Warns, with a `UserWarning`, where the executor or its precision is another: the text may go on differently then.

    Raises:
        SessionFileError: there is no such file, it is no session, damaged, cut off, or from a later version of lilims.
        OtherModelError: it was saved with other weights, another tokenizer, or does not fit the context.
        ExecutionError: the state cannot be written.
    """
    where = Path(path)
    found: dict[str, Any] = {}

    def check(about: Mapping[str, Any]) -> list[int]:
        _compare(about, model, where)
        found.update(about)
        return [*model.manifest.state.shape]

    snapshot = read_session_file(where, check)
    try:
        policy = snapshot.layout["policy"]
        session = model.session(ContextPolicy(policy["kind"], policy["keep"]))
    except (KeyError, TypeError, UsageError) as exc:
        raise SessionFileError("the file is damaged: its context policy makes no sense", where=where) from exc
    try:
        session.restore(snapshot)
    except (KeyError, TypeError, ValueError, IndexError, UsageError) as exc:
        raise OtherModelError(f"what it holds does not fit this model: {exc}", where=where) from exc
    _warn(found, model, where)
    return session


def model_identity(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """What has to be the same for a session to go on: hashes of the packages and of the tokenizer, shape of the state.

    Recorded hashes save reading gigabytes; a file of a package that the manifest does not record is read.
    """
    packages = {part.package for part in manifest.parts} or {manifest.package}
    inside = [path for name in packages for path in (folder / name).rglob("*") if path.is_file()]
    names = sorted(path.relative_to(folder).as_posix() for path in inside)
    if manifest.embedding is not None:
        names.append(manifest.embedding.file)
    return {
        "package": _hash(folder, manifest, names),
        "tokenizer": _hash(folder, manifest, [name for name in _TOKENIZER if name in manifest.files]),
        "state": list(manifest.state.shape),
    }


def _hash(folder: Path, manifest: Manifest, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        content = manifest.files[name].sha256 if name in manifest.files else sha256_file(folder / name)
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def _compare(about: Mapping[str, Any], model: Model, where: Path) -> None:
    own = model_identity(model.folder, model.manifest)
    for key, words in _SAME.items():
        if about.get(key) != own[key]:
            name = str(about.get("model"))
            raise OtherModelError(
                f"was saved with {name!r}, whose {words} differs from that of {model.manifest.name!r}", where=where
            )


def _warn(about: Mapping[str, Any], model: Model, where: Path) -> None:
    for key, own in zip(_SIMILAR, (model.executor, model.precision), strict=True):
        if about.get(key) != own:
            warnings.warn(
                f"{where}: saved with {key} {str(about.get(key))[:40]!r}, loaded with {own!r}: the cache is the same, "
                "but the text may go on differently",
                UserWarning,
                stacklevel=3,
            )
