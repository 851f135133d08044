"""The process of one rung: `python -m lilims.ci.macos.child HOME ANSWER EXECUTOR UNITS WORK SHARED`.

Knows how a rung's function is called and how its answer is left. Must not know what it asks. Exits with 0 and an answer
where the function came to an end or raised; the parent judges everything else.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from lilims.conversion._quiet import go_lean

from .rungs import ExecutorName, Target

__all__ = ["main"]

_LONGEST = 2000  # characters of an error


def main(arguments: list[str]) -> None:
    """Calls the function and writes its answer."""
    home, answer, executor, units, work, shared = arguments
    go_lean()
    try:
        module, _, name = home.partition(":")
        function = getattr(importlib.import_module(module), name)
        value = asdict(function(Target(cast("ExecutorName", executor), units, Path(work), Path(shared))))
    except Exception as error:
        traceback.print_exc()
        value = {"error": f"{type(error).__name__}: {error}"[:_LONGEST]}
    _leave(Path(answer), value)


def _leave(answer: Path, value: dict[str, Any]) -> None:
    """The answer appears whole: a process that dies while it writes has not answered."""
    new = answer.with_suffix(".new")
    new.write_text(json.dumps(value, default=float), "utf-8")
    os.replace(new, answer)


if __name__ == "__main__":
    main(sys.argv[1:])
