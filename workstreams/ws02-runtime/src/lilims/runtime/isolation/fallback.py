"""Two executors of one model: the second takes over when the first is lost.

Knows the interface of executors. Must not know which two they are, or sessions. A package that kills Core ML, hangs in
it or does not load there runs through the portable executor then, for as long as this object lives, and says so.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError
from lilims.core.events import emit

from ..errors import StateLostError
from ..executor import Executor, ExecutorName

__all__ = ["FallbackExecutor"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _State:
    """A state and the executor that made it."""

    owner: Executor
    own: Any


class _Function:
    def __init__(self, executor: FallbackExecutor, name: str) -> None:
        self._executor = executor
        self._name = name

    def predict(self, inputs: Mapping[str, NDArray[Any]], state: _State) -> dict[str, NDArray[Any]]:
        """Runs the function once.

        Raises:
            StateLostError: the first executor was lost, before or in this call: the second has taken over.
            ExecutionError: the program failed.
        """
        return self._executor.using(state, lambda now, own: now.function(self._name).predict(inputs, own))


class FallbackExecutor:
    """Runs a model through one executor, and from its loss on through another.

    Lost is one that cannot be opened or cannot load a function, or that answers with a `StateLostError`: the states go
    with it. An `ExecutionError` of a prediction is no loss.

    Args:
        primary: opens the first executor.
        backup: opens the second.
    """

    def __init__(self, primary: Callable[[], Executor], backup: Callable[[], Executor]) -> None:
        self._backup = backup
        self._changing = threading.Lock()
        self._changed = False
        try:
            self._now = primary()
        except ExecutionError as exc:
            self._now, self._changed = backup(), True
            _tell(self._now, exc)

    @property
    def name(self) -> ExecutorName:
        """Who runs the model now."""
        return self._now.name

    @property
    def warms_up(self) -> bool:
        """As `Executor.warms_up`, of the one that runs the model now."""
        return self._now.warms_up

    @property
    def pads(self) -> bool:
        """As `Executor.pads`."""
        return True  # one of the two may want it

    def function(self, name: str) -> _Function:
        """As `Executor.function`; one that cannot be loaded is taken from the second executor."""
        self._load(lambda executor: executor.function(name))
        return _Function(self, name)

    def make_state(self) -> _State:
        """A new state, all zeros; it follows when the executor changes."""
        return self._load(lambda executor: _State(executor, executor.make_state()))

    def read_state(self, state: _State, rows: int) -> NDArray[np.float16]:
        """As `Executor.read_state`.

        Raises:
            StateLostError: the executor that made the state is lost.
        """
        return self.using(state, lambda executor, own: executor.read_state(own, rows))

    def write_state(self, state: _State, values: NDArray[np.float16]) -> None:
        """As `Executor.write_state`.

        Raises:
            StateLostError: the executor that made the state is lost.
        """
        self.using(state, lambda executor, own: executor.write_state(own, values))

    def using(self, state: _State, do: Callable[[Executor, Any], T]) -> T:
        """Does something with a state of the present executor."""
        now = self._now
        if state.owner is not now:
            raise StateLostError("another executor has taken over since this state was made")
        try:
            return do(now, state.own)
        except StateLostError as exc:
            self._switch(now, exc)
            raise

    def _load(self, do: Callable[[Executor], T]) -> T:
        now = self._now
        try:
            return do(now)
        except ExecutionError as exc:
            if not self._switch(now, exc):
                raise
        return do(self._now)

    def _switch(self, lost: Executor, cause: ExecutionError) -> bool:
        """Goes over to the second executor; False if that is the one which was lost."""
        with self._changing:
            if self._now is not lost:
                return True  # another thread was here first
            if self._changed:
                return False
            self._now, self._changed = self._backup(), True
        _tell(self._now, cause)
        return True


def _tell(backup: Executor, cause: ExecutionError) -> None:
    message = f"the model goes on through the executor {backup.name}, which may be slower: {cause}"
    emit("executor.fallback", executor=backup.name, reason=str(cause))
    logging.getLogger("lilims.runtime").warning(message)
    warnings.warn(message, RuntimeWarning, stacklevel=2)
