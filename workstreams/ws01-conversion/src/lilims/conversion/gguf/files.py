"""A GGUF model of one file or of several: `name-00001-of-00003.gguf` and so on.

Knows how llama.cpp splits models (`gguf-split`). Must not know what keys and tensors mean.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lilims.core.errors import CheckpointError
from lilims.core.files import sha256_file

from .header import Header, TensorEntry, read_header

__all__ = ["GGUFFiles"]

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_MOST_PARTS = 4096


class GGUFFiles:
    """All files of a model.

    Attributes:
        path: the first file.
        metadata: the first file's; the others repeat parts of it.
        tensors: of all files, by name.
    """

    def __init__(self, path: Path) -> None:
        """Reads the headers; `path` may be any of the model's files.

        Raises:
            CheckpointError: a file is missing or damaged, or belongs to another model.
            UnsupportedModelError: as `read_header`.
        """
        headers = _headers(path)
        self.path = headers[0].path
        self.metadata: Mapping[str, Any] = headers[0].metadata
        tensors: dict[str, TensorEntry] = {}
        for header in headers:
            if twice := tensors.keys() & header.tensors.keys():
                raise CheckpointError(
                    f"holds tensor {min(twice)!r}, and so does a file before it", where=header.path, hint=_HINT
                )
            tensors.update(header.tensors)
        self.tensors: Mapping[str, TensorEntry] = tensors
        self._paths = [header.path for header in headers]
        wanted = _whole(self.metadata, "split.tensors.count", len(tensors))
        if wanted != len(tensors):
            raise CheckpointError(
                f"the files hold {len(tensors)} tensors, the first one says {wanted}", where=self.path, hint=_HINT
            )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, or of each file's name and hash in order where there are several."""
        if len(self._paths) == 1:
            return sha256_file(self.path)
        digest = hashlib.sha256()
        for path in self._paths:
            digest.update(f"{path.name} {sha256_file(path)}\n".encode())
        return digest.hexdigest()


_HINT = "fetch all files of the model again, into one folder and under their own names"


def _whole(metadata: Mapping[str, Any], key: str, default: int) -> int:
    """A whole number; −1 for what is none."""
    value = metadata.get(key, default)
    return value if type(value) is int else -1


def _headers(path: Path) -> list[Header]:
    first = read_header(path)
    count = _whole(first.metadata, "split.count", 1)
    if count in (0, 1):
        return [first]
    name = _PART.fullmatch(path.name)
    if not 1 < count <= _MOST_PARTS or name is None or int(name[3]) != count:
        raise CheckpointError(
            f"is part of a model of {count} files, which its name does not tell",
            where=path,
            hint="such files are called name-00001-of-00003.gguf: give it the name that it was published under",
        )
    headers = []
    for number in range(count):
        part = path.with_name(f"{name[1]}-{number + 1:05d}-of-{count:05d}.gguf")
        if not part.is_file():
            raise CheckpointError("is missing: the model has several files", where=part, hint=_HINT)
        header = first if part == path else read_header(part)
        if (_whole(header.metadata, "split.no", 0), _whole(header.metadata, "split.count", 1)) != (number, count):
            raise CheckpointError(f"is not part {number + 1} of {count}", where=part, hint=_HINT)
        headers.append(header)
    return headers
