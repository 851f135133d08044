"""What a search has measured, on disk: it goes on where it was interrupted, and a second one measures nothing twice.

Knows a file of JSON lines. Must not know what is measured. A line that is cut off ends what is believed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict

from lilims.core.files import storage_errors
from lilims.core.paths import cache_dir

from .goal import Figures

__all__ = ["Ledger"]


class Ledger:
    """Figures by name.

    Args:
        key: a hash of all that they depend on but their names.
    """

    def __init__(self, key: str) -> None:
        self._path = cache_dir() / "budget" / f"{key}.jsonl"
        self._held: dict[str, Figures] = {}
        self._whole = 0  # bytes that are believed
        self._read()

    def _read(self) -> None:
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
        except OSError:
            return
        for line in lines:
            try:
                entry = json.loads(line)
                figures = Figures(**entry["figures"])
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            self._held[entry["name"]] = figures
            self._whole += len(line)

    def get(self, name: str) -> Figures | None:
        """What was measured, if it was."""
        return self._held.get(name)

    def put(self, name: str, figures: Figures) -> None:
        """Keeps what was measured."""
        self._held[name] = figures
        with storage_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.truncate(self._whole)
                self._whole += file.write(json.dumps({"name": name, "figures": asdict(figures)}).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def or_measure(self, name: str, measure: Callable[[], Figures]) -> Figures:
        """What was measured before, or is now."""
        found = self.get(name)
        if found is None:
            found = measure()
            self.put(name, found)
        return found
