"""Errors of the task protocol; `error.type` in `--json` output is the class's name.

    LilimsError
    ├── InputError
    │   └── TaskSpecError          a spec, or a set of specs, is not valid
    └── TaskError                  exit code 1: the answer is no
        ├── UnknownTaskError       no spec of that id on the main branch
        ├── NothingReadyError      no task can be claimed now
        ├── NotReadyError          done already, or it waits for other tasks
        ├── ClaimHeldError         another agent holds it
        ├── OverlapError           a live claim may change the same files
        ├── ClaimLostError         the claim is not, or no longer, one's own
        ├── AcceptanceError        an acceptance command failed
        ├── OutsideError           the branch changes files that the task does not touch
        ├── ConflictError          the branch does not merge with the main branch
        ├── HostRefusesError       the remote does not take the ref
        └── RemoteError            exit code 3: the remote cannot be asked; nothing is known

Knows how the protocol says no. Must not know who asks.
"""

from __future__ import annotations

from lilims.core.errors import InputError, LilimsError

__all__ = [
    "AcceptanceError",
    "ClaimHeldError",
    "ClaimLostError",
    "ConflictError",
    "HostRefusesError",
    "NotReadyError",
    "NothingReadyError",
    "OutsideError",
    "OverlapError",
    "RemoteError",
    "TaskError",
    "TaskSpecError",
    "UnknownTaskError",
]


class TaskSpecError(InputError):
    """A task spec, or what several say together, is not valid."""

    next_step = "specs/README.md says how a spec is written"


class TaskError(LilimsError):
    """The protocol's answer is no."""


class UnknownTaskError(TaskError):
    """No spec of that id stands on the main branch."""


class NothingReadyError(TaskError):
    """No task can be claimed now."""


class NotReadyError(TaskError):
    """The task is done already, or waits for other tasks."""


class ClaimHeldError(TaskError):
    """Another agent holds a live claim of the task."""


class OverlapError(TaskError):
    """A live claim of another task may change the same files."""


class ClaimLostError(TaskError):
    """The claim is not, or no longer, held from this clone."""


class AcceptanceError(TaskError):
    """An acceptance command failed, or none of them runs on this platform."""


class OutsideError(TaskError):
    """The branch changes files that the claim does not cover."""


class ConflictError(TaskError):
    """The branch does not merge with the main branch by itself."""


class HostRefusesError(TaskError):
    """The remote answers, but does not take the ref."""


class RemoteError(TaskError):
    """The remote cannot be asked, so that nothing is known about its claims."""

    exit_code = 3
