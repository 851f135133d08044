"""A model in a process of its own, so that its memory is its own.

Knows how a child is started, heard and ended. Must not know what a figure means.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from lilims.core import errors
from lilims.core.errors import ExecutionError, LilimsError

__all__ = ["Child", "start"]

_LONGEST = 1 << 26  # bytes of an answer


class Child:
    """A process that does one task of `child.py`; a context manager, which ends it.

    Args:
        task: what it is told first.
        environment: variables beside this process's own.

    Raises:
        LilimsError: what the child raised; an ExecutionError where it died.
    """

    def __init__(
        self,
        task: dict[str, Any],
        environment: Mapping[str, str] | None = None,
        command: tuple[str, ...] = ("-m", "lilims.bench.child"),
    ) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `__exit__`
        self._process = subprocess.Popen(
            [sys.executable, "-P", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, **(environment or {})},
        )
        self._model = str(task.get("model", ""))
        try:
            self.tell(task)
        except BaseException:
            self._end()
            raise

    def tell(self, value: dict[str, Any]) -> None:
        """One line to the child."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as exc:
            raise self._died() from exc

    def answer(self) -> dict[str, Any]:
        """The child's next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline(_LONGEST)
        if not line:
            raise self._died()
        value: dict[str, Any] = json.loads(line)
        if "error" in value:
            raise _raised(value["error"])
        return value

    def ask(self, what: str, count: int) -> dict[str, Any]:
        """One task of a child that serves, and its answer."""
        self.tell({what: count})
        return self.answer()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):  # it is gone already
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._complaints.close()

    def _died(self) -> ExecutionError:
        code = self._process.wait()
        self._complaints.seek(0)
        words = self._complaints.read().decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(words) if line.strip()), "it said nothing")
        how = f"signal {-code}" if code < 0 else f"code {code}"
        return ExecutionError(f"the process that measures ended with {how}: {last}", where=self._model)


def _raised(value: dict[str, Any]) -> LilimsError:
    """The error that the child raised, of its own class where that is known here."""
    kind = getattr(errors, str(value["type"]), None)
    known = kind if isinstance(kind, type) and issubclass(kind, LilimsError) else ExecutionError
    return known(str(value["message"]), where=value["where"], hint=value["hint"])


def start(task: dict[str, Any]) -> tuple[float, float]:
    """Seconds from the start of a process to its first token, and of loading within them."""
    begun = time.perf_counter()
    with Child({**task, "what": "start"}) as child:
        child.answer()
        seconds = time.perf_counter() - begun
        return seconds, float(child.answer()["load_seconds"])
