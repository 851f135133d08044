"""A pull in a process of its own, which can be ended at any moment: `python -m lilims.ui.web.pull_process`.

Standard input is one JSON object, {"source", "dry_run"}; standard output JSON lines: {"file", "done", "total"} as it
goes on, then {"result"} or {"error"}. It takes no path: only servers, the hub, and names of the registry.
Knows the protocol. Must not know the page.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from typing import Any

from lilims.core.errors import LilimsError, UsageError

__all__ = ["main"]

_TELL_EVERY = 0.2  # seconds


def check_source(source: str) -> None:
    """Refuses what is no server, no model of the hub and no name.

    Raises:
        UsageError: it is a path.
        ModelNotFoundError: it is nothing.
    """
    from lilims.models.sources.names import LocalSource, parse

    if isinstance(parse(source), LocalSource):
        raise UsageError("a path cannot be pulled from the page", hint="`lilims pull` in a terminal takes paths")


class _Teller:
    """Progress, at most some lines a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0.0

    def __call__(self, name: str, done: int, total: int | None) -> None:
        with self._lock:
            if done == total or time.monotonic() - self._last > _TELL_EVERY:
                self._last = time.monotonic()
                _tell({"file": name, "done": done, "total": total})


def _tell(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Runs one pull."""
    from lilims.models import Wishes, pull

    asked = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory(prefix="lilims-") as empty:
        before = os.getcwd()
        os.chdir(empty)  # so that no name is taken for a file that happens to lie here
        try:
            check_source(asked["source"])
            done = pull(asked["source"], Wishes(dry_run=asked["dry_run"], progress=_Teller()))
        except LilimsError as error:
            _tell({"error": error.as_dict()})
            return 1
        finally:
            os.chdir(before)
    _tell({"result": {name: value for name, value in done.as_dict().items() if name != "folder"}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
