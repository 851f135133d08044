"""Reports of `lilims bench` in a JSONL file, one a line, oldest first.

Knows the file's form and which lines compare. Must not know what a regression is.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from lilims.core.errors import InputError
from lilims.core.files import read_bytes, storage_errors

__all__ = ["append", "comparable", "matching", "read"]

_LIMIT = 256 << 20
_MACHINE = {"processor", "cores"}
_MODEL = {"name", "scheme", "compute_units"}
"""What runs are told apart by."""


def append(path: Path, report: dict[str, Any]) -> None:
    """Adds a report with the time. A line is written at once: what another process adds meanwhile stays whole.

    Raises:
        StorageError: the file cannot be written.
    """
    line = json.dumps({"kind": "bench", "schema_version": 1, "time": time.time(), **report}) + "\n"
    with storage_errors(path), path.open("ab") as file:
        file.write(line.encode())


def read(path: Path) -> list[dict[str, Any]]:
    """The reports of a file.

    Raises:
        InputError: it is missing or too large, a line is no report, or there is none.
    """
    found = []
    for number, line in enumerate(read_bytes(path, limit=_LIMIT).splitlines(), 1):
        if not line.strip():
            continue
        try:
            report = json.loads(line)
            good = report["kind"] == "bench" and report["workload"] and _told(report["machine"], _MACHINE)
            good = good and all(_told(one, _MODEL) and one["name"] for one in report["models"])
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise InputError(
                f"line {number} is no report of lilims bench",
                where=path,
                hint="`lilims bench --history FILE` writes it",
            )
        found.append(report)
    if not found:
        raise InputError("there is no report in it", where=path, hint="`lilims bench --history FILE` writes one")
    return found


def _told(part: Any, names: set[str]) -> bool:
    return isinstance(part, dict) and names <= part.keys()


def comparable(reports: list[dict[str, Any]], report: dict[str, Any], model: dict[str, Any]) -> list[dict[str, Any]]:
    """The same model's figures in the reports of the same work on the same kind of machine, oldest first."""
    return [figures for _, figures in matching(reports, report, model)]


def matching(
    reports: list[dict[str, Any]], report: dict[str, Any], model: dict[str, Any]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What `comparable` finds, each with the report that it stands in."""

    def key(one: dict[str, Any]) -> tuple[Any, ...]:
        return one["workload"], one["machine"]["processor"], one["machine"]["cores"]

    own = ("name", "scheme", "executor", "compute_units")
    return [
        (one, seen)
        for one in reports
        if key(one) == key(report)
        for seen in one["models"]
        if all(seen.get(field) == model.get(field) for field in own)
    ]
