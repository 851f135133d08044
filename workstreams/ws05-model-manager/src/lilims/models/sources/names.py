"""How the source of a model is written.

    ./folder, model.gguf, x.tar     a path: a model folder, a package, an archive, a checkpoint
    https://host/tiny/              a server: a model folder (its manifest.json is the index), or an archive
    hf:org/name[@rev]               the Hugging Face hub: a checkpoint, a model folder or a package
    hf:org/name/file.gguf[@rev]     one file, or one package, of a repository
    tiny, tiny@^1.2                 a name that the registry has

Knows spellings. Must not know how a model is brought.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lilims.core.errors import ModelNotFoundError, UsageError
from lilims.core.locate import reference
from lilims.core.versions import Range

__all__ = ["HubSource", "LocalSource", "NamedSource", "Source", "WebSource", "parse"]

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_HUB = re.compile(
    rf"hf:(?://)?(?P<repo>{_PART}/{_PART})(?:/(?P<file>{_PART}(?:/{_PART}){{0,7}}))?(?:@(?P<revision>[\w./-]{{1,128}}))?"
)


@dataclass(frozen=True)
class LocalSource:
    """Something on this machine."""

    path: Path


@dataclass(frozen=True)
class WebSource:
    """A model folder or an archive on a server."""

    url: str


@dataclass(frozen=True)
class HubSource:
    """A repository of the hub, at a branch, tag or commit; `file` is the one thing of it that is meant."""

    repo: str
    revision: str | None
    file: str | None

    def __str__(self) -> str:
        file = f"/{self.file}" if self.file else ""
        return f"hf:{self.repo}{file}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class NamedSource:
    """A name and a range of versions, for the registry."""

    name: str
    wanted: Range


Source = LocalSource | WebSource | HubSource | NamedSource


def parse(text: str) -> Source:
    """What a source means. A path that exists comes first; the network is never meant unless it is written.

    Raises:
        UsageError: it is written wrong.
        ModelNotFoundError: it is a path, and there is nothing.
    """
    path = Path(os.path.expanduser(text))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) and not text.startswith("hf://"):
        return WebSource(text)
    if text.startswith("hf:"):
        found = _HUB.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is not a model of the hub", hint="such as hf:org/name, hf:org/name@main")
        return HubSource(found["repo"], found["revision"], found["file"])
    if os.path.exists(path):
        return LocalSource(path)
    if (named := reference(text)) is not None:
        return NamedSource(*named)
    hint = f"a model of the hub is hf:{text}" if re.fullmatch(rf"{_PART}/{_PART}", text) else "check the path"
    raise ModelNotFoundError("no such file or folder", where=text, hint=hint)
