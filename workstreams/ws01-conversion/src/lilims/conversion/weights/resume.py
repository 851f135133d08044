"""Work that outlives an interruption: the weights written so far, and a journal that says which they are.

Knows a folder beside the output, `.<name>.partial`: weight.bin, and journal.jsonl with a line for each tensor that is
wholly written. Must not know how tensors are made.

Nothing in it is believed before it was checked: the first line must name the same source, options and versions, and
each tensor's bytes must have the CRC-32 that its line says. The first that has not ends what is taken over, and
weight.bin is cut off there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lilims.core.errors import StorageError
from lilims.core.events import emit
from lilims.core.files import storage_errors
from lilims.core.locks import exclusive

from ..stored import Stored
from .placing import Part, Placed
from .weight_file import ALIGNMENT, Mark, WeightFile

__all__ = ["Partial", "discard", "identity", "partial"]

_FORMAT = 1
_FORMS = {form.__name__: form for form in get_args(Stored)}
_STEP = 1 << 20


def identity(**what: Any) -> str:
    """A hash of all that the bytes of weight.bin depend on."""
    text = json.dumps({"format": _FORMAT, **what}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Partial:
    """An interrupted conversion's folder.

    Attributes:
        placed: the tensors that are written and were found whole.
        mark: how far weight.bin is written; None where there is nothing to go on from.
    """

    folder: Path
    name: str
    placed: dict[str, Placed] = field(default_factory=dict)
    mark: Mark | None = None

    @property
    def weights(self) -> Path:
        """The weight.bin of the folder."""
        return self.folder / "weight.bin"

    @property
    def size(self) -> int:
        """Bytes that are written."""
        return self.mark.end if self.mark else 0

    @property
    def _journal(self) -> Path:
        return self.folder / "journal.jsonl"

    def open(self) -> WeightFile:
        """weight.bin, to go on behind what is written, or to begin."""
        if self.mark is None:
            self._journal.write_text(json.dumps({"identity": self.name}) + "\n", "utf-8")
        file = WeightFile(self.weights, mark=self.mark, checked=True)
        seen = set()
        for placed in self.placed.values():
            for part in placed.parts.values():
                if part.offset is not None and part.offset not in seen:
                    seen.add(part.offset)
                    file.recall(part.dtype, part.offset, part.shape)
        return file

    def note(self, role: str, placed: Placed, mark: Mark) -> None:
        """Adds a tensor that is wholly written; the bytes before `mark` have left this process' buffers."""
        line = {"role": role, "mark": asdict(mark), **_placed_as_dict(placed)}
        line["check"] = _check(line)
        with self._journal.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(line) + "\n")
        self.placed[role] = placed

    def give(self, target: Path) -> None:
        """Puts the finished weight.bin into a package as well: as a link where the file system has those."""
        try:
            os.link(self.weights, target)
        except OSError:
            shutil.copyfile(self.weights, target)

    def _recall(self) -> None:
        """Reads the journal up to the first line that is not borne out."""
        with contextlib.suppress(OSError), self._journal.open("rb") as journal, self.weights.open("rb") as weights:
            whole = len(first := journal.readline())
            if first != (json.dumps({"identity": self.name}) + "\n").encode():
                return
            weights.seek(ALIGNMENT)
            crc, end = 0, ALIGNMENT
            for line in journal:
                try:
                    entry = json.loads(line)
                    if entry.pop("check") != _check(entry):
                        break
                    mark, placed = Mark(**entry["mark"]), _placed_from_dict(entry)
                except (ValueError, KeyError, TypeError, AttributeError):
                    break
                for start in range(end, mark.end, _STEP):
                    crc = zlib.crc32(weights.read(min(_STEP, mark.end - start)), crc)
                if not line.endswith(b"\n") or mark.end < end or weights.tell() != mark.end or crc != mark.crc:
                    break
                self.placed[entry["role"]], self.mark = placed, mark
                end, whole = mark.end, whole + len(line)
        if self.mark is not None:
            os.truncate(self._journal, whole)


def _check(line: Mapping[str, Any]) -> int:
    """A CRC-32 of the journal's line: what it says of a tensor is not in the bytes of weight.bin."""
    return zlib.crc32(json.dumps(line).encode())


def _placed_as_dict(placed: Placed) -> dict[str, Any]:
    values = {f.name: getattr(placed.form, f.name) for f in fields(placed.form)}
    arrays = {name: (v.dtype.str, v.shape) for name, v in values.items() if isinstance(v, np.ndarray)}
    parts = {
        name: (part.dtype, part.shape, part.offset)
        + (() if part.values is None else (part.values.dtype.str, part.values.tobytes().hex()))
        for name, part in placed.parts.items()
    }
    rest = {name: value for name, value in values.items() if name not in arrays}
    return {"form": type(placed.form).__name__, "arrays": arrays, "rest": rest, "parts": parts}


def _placed_from_dict(entry: Mapping[str, Any]) -> Placed:
    arrays = {n: np.broadcast_to(np.zeros((), dtype), shape) for n, (dtype, shape) in entry["arrays"].items()}
    parts = {}
    for name, (dtype, shape, offset, *raw) in entry["parts"].items():
        part = Part(dtype, tuple(shape), offset)
        if raw:
            values = np.frombuffer(bytes.fromhex(raw[1]), np.dtype(raw[0])).reshape(shape)
            part = replace(part, values=values)
        parts[name] = part
    return Placed(_FORMS[entry["form"]](**arrays, **entry["rest"]), parts)


def _folder(out: Path) -> Path:
    out = Path(os.path.abspath(out))
    return out.with_name(f".{out.name}.partial")


def _busy() -> None:
    raise BlockingIOError


@contextlib.contextmanager
def partial(out: Path, name: str) -> Iterator[Partial]:
    """The partial work for the output `out`, held for this process.

    What another source, other options or another version left there is thrown away. The folder stays when the block
    fails with tensors in it, and vanishes otherwise.

    Args:
        out: the folder that is to be made.
        name: of this conversion (`identity`).

    Raises:
        StorageError: another process works there, or nothing can be written.
    """
    folder = _folder(out)
    with contextlib.ExitStack() as stack:
        if folder.is_symlink():
            folder.unlink()
        try:
            stack.enter_context(exclusive(folder / "lock", waiting=_busy))
        except BlockingIOError as exc:
            raise StorageError(
                "another conversion with --resume is at work there", where=out, hint="let it end, or choose another -o"
            ) from exc
        kept = Partial(folder, name)
        with storage_errors(folder):
            kept._recall()
        try:
            yield kept
        except BaseException:
            if kept.placed:
                emit("convert.kept", done=len(kept.placed))
            else:
                _remove(folder)
            raise
        _remove(folder)


def discard(out: Path) -> None:
    """Throws away partial work for `out`, unless a living process is at it."""
    folder = _folder(out)
    if folder.is_dir() and not folder.is_symlink():
        with contextlib.suppress(BlockingIOError, StorageError), exclusive(folder / "lock", waiting=_busy):
            _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=sys.platform == "win32")  # there an open lock file cannot be removed
