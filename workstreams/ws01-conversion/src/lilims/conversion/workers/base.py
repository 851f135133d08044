"""What all workers have in common, and the simplest of them: this process.

Knows descriptions that are opened, and order. Must not know processes, machines or what is computed.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol, TypeVar

__all__ = ["Opened", "Opens", "Serial", "Workers", "in_order"]

State = TypeVar("State")
State_co = TypeVar("State_co", covariant=True)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Opens(Protocol[State_co]):
    """A small picklable description of what the work needs, such as a folder's path and options."""

    def open(self) -> State_co:
        """Makes it ready, which may take seconds and much memory."""


class Workers(ABC):
    """Something that does work. A context manager: what it holds ends with it."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many items are worked on at once."""

    @abstractmethod
    def map(
        self, function: Callable[[State, Item], Result], work: Opens[State], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        """`function(opened, item)` of each item, in the items' order, each as soon as it is there.

        Items are taken from `items` a few ahead of the results. Closing the generator drops what has not been begun.

        Args:
            function: a function of a module, so that other processes can import it.
            work: opened once in each process and kept, until other work comes.
            items: picklable, as are the results.

        Raises:
            ExecutionError: who does the work is gone.
            Exception: what the function raises, at its item's turn.
        """

    def close(self) -> None:
        """Ends it. Nothing happens the second time."""
        return

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Serial(Workers):
    """The work is done here, one item after the other; nothing is pickled."""

    def __init__(self) -> None:
        self._work: Opens[Any] | None = None
        self._opened: Any = None

    @property
    def size(self) -> int:
        return 1

    def map(
        self, function: Callable[[State, Item], Result], work: Opens[State], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        for item in items:
            if self._work is not work:
                self.close()  # before the next, so that memory holds one of them
                self._opened = work.open()
                self._work = work
            yield function(self._opened, item)

    def close(self) -> None:
        self._work = self._opened = None


class Opened:
    """What a process that works for others has opened last. Descriptions that are pickled alike are the same."""

    def __init__(self) -> None:
        self._work: bytes | None = None
        self._opened: Any = None

    def get(self, work: bytes) -> Any:
        """What a pickled description opens as."""
        if work != self._work:
            self._work = self._opened = None  # before the next, so that memory holds one of them
            self._opened = pickle.loads(work).open()
            self._work = work
        return self._opened


def in_order(
    submit: Callable[[Any], Any], take: Callable[[Any], Result], items: Iterable[Any], ahead: int
) -> Generator[Result, None, None]:
    """Results of futures in the order of the items, with at most `ahead` of them under way or waiting to be taken."""
    waiting: deque[Any] = deque()
    try:
        for item in items:
            waiting.append(submit(item))
            if len(waiting) >= ahead:
                yield take(waiting.popleft())
        while waiting:
            yield take(waiting.popleft())
    finally:
        for future in waiting:
            future.cancel()
