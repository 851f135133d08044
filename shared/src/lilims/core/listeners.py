"""Listeners of a whole command: entry points of the group `lilims.listeners`, started only where a file says so.

Knows the switch, one empty file below lilims' home, and who was started. Must not know what a listener does: it gets
the name of the command and from then on core's events (events.py), the error that nobody expected, and the end. Where
the switch is off, which it is until a user turns it on, all of this costs one look for a file.

An entry point is a function `(command: str) -> Listener`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from .errors import LilimsError
from .privacy import do_not_track

__all__ = ["GROUP", "Listener", "crashed", "is_on", "start", "stop", "switch"]

GROUP = "lilims.listeners"
"""The entry-point group of what hears a whole command."""
_started: list[Listener] = []


class Listener(Protocol):
    """What an entry point returns."""

    def crashed(self, error: BaseException) -> None:
        """The command ends with an error that nobody expected."""

    def stop(self) -> None:
        """The command has ended."""


def switch() -> Path:
    """The file whose presence switches listeners on."""
    from .paths import home

    return home() / "telemetry" / "on"


def is_on() -> bool:
    """Whether listeners are to be started: switched on, and neither `LILIMS_TELEMETRY=0` nor `DO_NOT_TRACK=1`."""
    from .settings import settings

    return settings().telemetry and not do_not_track() and switch().is_file()


def start(command: str) -> None:
    """Starts all listeners for a command, if they are switched on. One that fails is logged and left out."""
    try:
        if _started or not is_on():
            return
    except LilimsError:  # of the settings: the command will say so, or needs none, as for --help
        return
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        with _harmless(entry.name):
            _started.append(entry.load()(command))


def crashed(error: BaseException) -> None:
    """Tells the listeners that were started of an error that nobody expected."""
    for listener in _started:
        with _harmless("a listener"):
            listener.crashed(error)


def stop() -> None:
    """Ends the listeners that were started."""
    while _started:
        with _harmless("a listener"):
            _started.pop().stop()


@contextlib.contextmanager
def _harmless(name: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        logging.getLogger("lilims.events").exception("%s failed", name)
