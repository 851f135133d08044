"""Executors in child processes for tests: the fake decoder behind a stand-in for coremltools."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from lilims.runtime.isolation import IsolatedPackage, IsolationHost

STANDIN = Path(__file__).parents[1] / "standin"


def open_standin(host: IsolationHost, folder: Path, **changes: Any) -> IsolatedPackage:
    """A package that the fake decoder in the child runs."""
    options: dict[str, Any] = {
        "name": "coreml", "compute_units": "CPU_ONLY", "precision": "fast", "threads": None,
        "identity": lambda: "a" * 64,
    }  # fmt: skip
    return host.open(folder / "m.mlpackage", **{**options, **changes})


def running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
