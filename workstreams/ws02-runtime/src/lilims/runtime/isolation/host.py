"""Packages that are open in a child process, behind the interface of an executor.

Knows requests and which child has what. Must not know pipes (process.py), tokens or sessions.

Every child has a generation. A state belongs to the child that made it; packages and functions are opened again by
themselves in a new child, states are not: who uses one of a child that is gone gets a `StateLostError`.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core import errors
from lilims.core.errors import ExecutionError, LilimsError
from lilims.core.events import emit

from ..errors import StateLostError
from ..executor import ExecutorName, Precision
from .process import Child, ChildGoneError
from .wire import Arrays, Header

__all__ = ["IsolatedFunction", "IsolatedPackage", "IsolatedState", "IsolationHost", "Timeouts"]


@dataclass(frozen=True)
class Timeouts:
    """Seconds that the child may take before it is stopped.

    Attributes:
        start: to start, which imports numpy.
        load: to open a package, to load a function and for the function's first call: Core ML compiles, for minutes.
        call: for any other request.
    """

    start: float = 60.0
    load: float = 900.0
    call: float = 120.0


class IsolatedState:
    """A state in a child. It is dropped there, with the next request, when this object is."""

    def __init__(self, number: int, generation: int, dropped: deque[tuple[int, int]]) -> None:
        self.number = number
        self.generation = generation
        weakref.finalize(self, dropped.append, (generation, number)).atexit = False


class IsolationHost:
    """A child process and the packages that are open in it. The child starts with the first request.

    Requests take turns, whichever thread they come from.
    """

    def __init__(self, timeouts: Timeouts | None = None) -> None:
        self.timeouts = timeouts or Timeouts()
        self.turn = threading.RLock()
        self.generation = 0
        self.dropped: deque[tuple[int, int]] = deque()
        self._child: Child | None = None
        self._numbers = itertools.count(1)

    @property
    def pid(self) -> int | None:
        """The number of the child process; None where there is none at the moment."""
        return self._child.pid if self._child is not None else None

    def open(
        self,
        package: Path,
        *,
        name: ExecutorName,
        identity: Callable[[], str],
        compute_units: str,
        precision: Precision,
        threads: int | None,
    ) -> IsolatedPackage:
        """Opens a package in the child. Arguments as `open_executor`.

        Raises:
            ExecutionError: it cannot be opened, or the child died of it (then a `StateLostError`).
        """
        arguments = {
            "package": str(package.absolute()),
            "name": name,
            "identity": identity(),
            "compute_units": compute_units,
            "precision": precision,
            "threads": threads,
        }
        opened = IsolatedPackage(self, next(self._numbers), name, arguments)
        opened.ready()
        return opened

    def new_state(self) -> IsolatedState:
        """A number for a state; the child knows nothing of it yet."""
        return IsolatedState(next(self._numbers), self.generation, self.dropped)

    def request(
        self, header: Header, arrays: Mapping[str, NDArray[Any]] | None = None, *, timeout: float
    ) -> tuple[Header, Arrays]:
        """Asks the child, which is started if there is none.

        Raises:
            StateLostError: the child is gone.
            LilimsError: what it answered with.
        """
        with self.turn:
            if self._child is None:
                self._child = Child(self.timeouts.start)
            drop = self._to_drop()
            try:
                reply, found = self._child.request(
                    {**header, "drop": drop, "limit": timeout}, arrays or {}, timeout=timeout
                )
            except ChildGoneError as exc:
                self._forget()
                raise self._lost(f"{exc} while it was to {_task(header)}") from exc
            except BaseException:
                self.dropped.extend((self.generation, number) for number in drop)  # perhaps dropped: twice is harmless
                raise
        if "error" in reply:
            raise _error(reply["error"])
        return reply, found

    def close(self) -> None:
        """Stops the child. The next request starts another."""
        with self.turn:
            if self._child is not None:
                self._child.stop()
                self._forget()

    def _forget(self) -> None:
        self._child = None
        self.generation += 1
        self.dropped.clear()

    def _to_drop(self) -> list[int]:
        found = []
        while self.dropped:
            generation, number = self.dropped.popleft()
            if generation == self.generation:
                found.append(number)
        return found

    def _lost(self, how: str) -> StateLostError:
        emit("executor.lost", reason=how)
        return StateLostError(
            f"the executor's process {how}",
            hint="the next call starts it anew; if it ends again, take another compute_units or executor='portable', "
            "and look whether the memory suffices",
        )


class IsolatedFunction:
    """One function of a package in the child."""

    def __init__(self, package: IsolatedPackage, name: str) -> None:
        self._package = package
        self._name = name

    def predict(self, inputs: Mapping[str, NDArray[Any]], state: IsolatedState) -> dict[str, NDArray[Any]]:
        """Runs the function once.

        Raises:
            StateLostError: the child that had the state is gone, before or in this call.
            ExecutionError: the program failed.
        """
        return self._package.predict(self._name, inputs, state)


class IsolatedPackage:
    """A package that is open in a child process: an executor like the one that it has there."""

    def __init__(self, host: IsolationHost, number: int, name: ExecutorName, arguments: Header) -> None:
        self.name: ExecutorName = name
        self.warms_up = False
        self._host = host
        self._number = number
        self._arguments = arguments
        self._opened_in = -1  # generation
        self._pads: bool | None = None
        self._loaded: dict[str, bool] = {}  # functions of that generation, and whether they have run

    def ready(self) -> None:
        """Opens the package in the child, if this child has not yet."""
        with self._host.turn:
            if self._opened_in != self._host.generation:
                reply = self._ask("open", arguments=self._arguments, timeout=self._host.timeouts.load)
                self.warms_up = bool(reply[0].get("warms_up"))
                self._opened_in, self._loaded = self._host.generation, {}

    @property
    def pads(self) -> bool:
        """As `Executor.pads`.

        Raises:
            StateLostError: the child is gone.
        """
        with self._host.turn:
            if self._pads is None:
                self.ready()
                self._pads = bool(self._ask("pads", timeout=self._host.timeouts.load)[0].get("pads", True))
            return self._pads

    def function(self, name: str) -> IsolatedFunction:
        """The function of that name, which runs in the child process."""
        with self._host.turn:
            self._load(name)
        return IsolatedFunction(self, name)

    def make_state(self) -> IsolatedState:
        """A new state, all zeros, kept in the child process."""
        with self._host.turn:
            self.ready()
            state = self._host.new_state()
            self._ask("make", state=state.number)
            return state

    def adopt(self, state: IsolatedState, own: IsolatedState | None) -> IsolatedState:
        """A state of this package with the content of another's, both in the child.

        Raises:
            StateLostError: the child that had the state is gone.
            ExecutionError: it cannot be handed over.
        """
        with self._host.turn:
            self._check(state)
            self.ready()
            if own is None or own.generation != self._host.generation:
                own = self._host.new_state()
            self._ask("adopt", state=state.number, own=own.number)
            return own

    def read_state(self, state: IsolatedState, rows: int) -> NDArray[np.float16]:
        """As `Executor.read_state`.

        Raises:
            StateLostError: the child that had the state is gone.
        """
        with self._host.turn:
            self._check(state)
            self.ready()
            _, found = self._ask("read", state=state.number, rows=rows)
        if "rows" not in found or found["rows"].dtype != np.float16:
            raise ExecutionError("the executor's process sent no rows of the state")
        return found["rows"]

    def write_state(self, state: IsolatedState, values: NDArray[np.float16]) -> None:
        """As `Executor.write_state`.

        Raises:
            StateLostError: the child that had the state is gone.
        """
        with self._host.turn:
            self._check(state)
            self.ready()
            self._ask("write", {"rows": np.asarray(values, np.float16)}, state=state.number)

    def predict(
        self, function: str, inputs: Mapping[str, NDArray[Any]], state: IsolatedState
    ) -> dict[str, NDArray[Any]]:
        """Runs a function once; see `IsolatedFunction.predict`."""
        with self._host.turn:
            self._check(state)
            self._load(function)
            times = self._host.timeouts
            timeout = times.call if self._loaded[function] else times.load
            _, found = self._ask("predict", inputs, function=function, state=state.number, timeout=timeout)
            self._loaded[function] = True
            return found

    def _load(self, name: str) -> None:
        self.ready()
        if name not in self._loaded:
            self._ask("load", function=name, timeout=self._host.timeouts.load)
            self._loaded[name] = False

    def _check(self, state: IsolatedState) -> None:
        if state.generation != self._host.generation:
            raise StateLostError("the process that held this state has ended")

    def _ask(
        self, op: str, arrays: Mapping[str, NDArray[Any]] | None = None, *, timeout: float | None = None, **fields: Any
    ) -> tuple[Header, Arrays]:
        header = {"op": op, "package": self._number, **fields}
        return self._host.request(header, arrays, timeout=timeout or self._host.timeouts.call)


_TASKS = {
    "open": "open the package",
    "predict": "run",
    "load": "load",
    "pads": "read the functions",
    "read": "read a state",
    "write": "write a state",
}


def _task(header: Header) -> str:
    return " ".join([_TASKS.get(header["op"], "make a state"), *([header["function"]] if "function" in header else [])])


def _error(found: Any) -> LilimsError:
    """The error that the child answered with, of its class where that is one of lilims'."""
    given = found if isinstance(found, dict) else {}
    kind = getattr(errors, str(given.get("type")), None) if given.get("type") in errors.__all__ else None
    words = {key: str(given[key]) for key in ("where", "hint") if given.get(key)}
    return (kind or ExecutionError)(str(given.get("message") or "the executor's process failed"), **words)
