"""Events: what happened, told to whoever listens in this process.

Knows listeners. Must not know what an event is used for; telemetry and progress bars subscribe. An event carries no
prompt and no generated text.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Event", "emit", "is_heard", "listening", "subscribe"]


@dataclass(frozen=True)
class Event:
    """Something that happened: a dotted name, such as `convert.tensor`, and its figures."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]
_listeners: list[Listener] = []


def subscribe(listener: Listener) -> Callable[[], None]:
    """Calls `listener` for every event from now on; the returned function ends that."""
    _listeners.append(listener)

    def unsubscribe() -> None:
        with contextlib.suppress(ValueError):
            _listeners.remove(listener)

    return unsubscribe


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Calls `listener` for every event inside the block."""
    unsubscribe = subscribe(listener)
    try:
        yield
    finally:
        unsubscribe()


def is_heard() -> bool:
    """Whether anybody listens, for what an event alone would need to be computed."""
    return bool(_listeners)


def emit(name: str, /, **fields: Any) -> None:
    """Tells all listeners. A listener that fails is logged and never disturbs the work it listens to."""
    if not _listeners:
        return
    event = Event(name, fields)
    for listener in tuple(_listeners):
        try:
            listener(event)
        except Exception:
            logging.getLogger("lilims.events").exception("a listener failed on %s", name)
