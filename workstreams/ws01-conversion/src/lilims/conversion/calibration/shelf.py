"""Calibrated matrices on disk: what an interrupted calibration goes on from, and a later conversion takes again.

Knows files. Must not know how matrices are made: the key says it.

    <home>/cache/calibration/<key>/<unit>.npz         a unit's matrices; zip keeps a CRC-32 of each array
    <home>/cache/calibration/<key>/streams.npz        both streams behind the last unit, with its name
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from tokenize import TokenError
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import StorageError
from lilims.core.files import write_atomic

from ..shelves import make_room_for, shelf_folder
from ..stored import Stored

__all__ = ["DAMAGED", "LIMIT", "Made", "Shelf", "shelf_for"]

LIMIT = 8 << 30  # bytes of all calibrations together
_FORMS = {form.__name__: form for form in get_args(Stored)}
_ABOUT = "about.json"
DAMAGED = (OSError, ValueError, KeyError, EOFError, SyntaxError, TokenError, RuntimeError, zipfile.BadZipFile,
           zlib.error)  # fmt: skip
"""What reading a damaged .npy or .npz raises: numpy takes headers for Python, zipfile does not know every method."""


@dataclass(frozen=True)
class Shelf:
    """The folder of one calibration."""

    folder: Path

    def write(self, unit: str, made: Mapping[str, Stored]) -> None:
        """Keeps a unit's matrices."""
        arrays: dict[str, NDArray[Any]] = {}
        about: dict[str, Any] = {}
        for role, stored in made.items():
            values = {field.name: getattr(stored, field.name) for field in fields(stored)}
            own = {f"{role}/{name}": value for name, value in values.items() if isinstance(value, np.ndarray)}
            rest = {name: value for name, value in values.items() if f"{role}/{name}" not in own}
            arrays |= own
            about[role] = {"form": type(stored).__name__, "arrays": [key.split("/")[1] for key in own], "rest": rest}
        self._save(unit, arrays, about)

    def read(self, unit: str) -> dict[str, Stored] | None:
        """A unit's matrices, or None where they are not there, cut short or damaged."""
        found = self._load(unit)
        try:
            return None if found is None else {role: _stored(found[1], role, one) for role, one in found[0].items()}
        except (KeyError, TypeError, AttributeError):
            return None

    def write_streams(self, unit: str, streams: Mapping[str, NDArray[np.float32]]) -> None:
        """Keeps the streams behind a unit, in the place of those behind an earlier one."""
        self._save("streams", dict(streams), {"unit": unit})

    def read_streams(self, unit: str) -> dict[str, NDArray[np.float32]] | None:
        """The streams behind a unit, or None where those of another are kept, or none."""
        found = self._load("streams")
        return found[1] if found is not None and found[0] == {"unit": unit} else None

    def finish(self) -> None:
        """Nothing is to be gone on from any more."""
        (self.folder / "streams.npz").unlink(missing_ok=True)

    def _save(self, name: str, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, **{_ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)})  # type: ignore[arg-type]
        write_atomic(self.folder / f"{name}.npz", [buffer.getbuffer()])

    def _load(self, name: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
        try:
            with (self.folder / f"{name}.npz").open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            return json.loads(bytes(arrays.pop(_ABOUT)).decode()), arrays
        except DAMAGED:
            return None


def _stored(file: Mapping[str, NDArray[Any]], role: str, about: Mapping[str, Any]) -> Stored:
    arrays = {name: file[f"{role}/{name}"] for name in about["arrays"]}
    found: Stored = _FORMS[about["form"]](**arrays, **about["rest"])
    return found


class Made(Mapping[str, Stored]):
    """All matrices of a finished calibration; a unit is in memory at a time."""

    def __init__(self, shelf: Shelf, units: Mapping[str, str]) -> None:
        self._shelf, self._units = shelf, units
        self._held: tuple[str, dict[str, Stored]] = ("", {})  # replaced at once: several threads ask

    def __getitem__(self, role: str) -> Stored:
        unit, held = self._units[role], self._held
        if unit != held[0]:
            found = self._shelf.read(unit)
            if found is None:
                raise StorageError(
                    f"calibrated matrices of {unit} have vanished", where=self._shelf.folder, hint="run it again"
                )
            self._held = held = (unit, found)
        return held[1][role]

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)


def shelf_for(key: str, needed: int, limit: int = LIMIT) -> Shelf:
    """The shelf of a calibration; those that were used longest ago go where it would not fit."""
    shelf = Shelf(shelf_folder("calibration", key))
    make_room_for(shelf.folder, needed, limit)
    return shelf
