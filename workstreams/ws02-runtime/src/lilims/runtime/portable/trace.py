"""ONNX Runtime's profiles as one trace, for chrome://tracing or Perfetto.

Knows the format: a JSON array of events. Must not know who asked for it.
Source: the "Trace Event Format" document of the Chromium project.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from lilims.core.errors import ExecutionError
from lilims.core.files import write_atomic

__all__ = ["join_traces"]

_LIMIT = 2 << 30  # bytes


def join_traces(profiles: Iterable[Path], target: Path) -> None:
    """Writes the events of some profiles into one file, each profile a process of its own, and deletes them.

    Raises:
        ExecutionError: a profile cannot be read.
        StorageError: the file cannot be written.
    """
    events = []
    for number, profile in enumerate(dict.fromkeys(profiles)):
        try:
            if profile.stat().st_size > _LIMIT:
                raise ExecutionError("the profile is too large to be read", where=profile)
            events += [{**event, "pid": number} for event in json.loads(profile.read_bytes())]
        except (OSError, ValueError) as exc:
            raise ExecutionError(f"ONNX Runtime's profile cannot be read: {exc}", where=profile) from exc
        finally:
            with contextlib.suppress(OSError):
                profile.unlink()
    write_atomic(target, json.dumps(events).encode())
