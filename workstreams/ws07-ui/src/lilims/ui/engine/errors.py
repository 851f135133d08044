"""Errors of the engine beyond those of `lilims.core.errors` and the runtime.

    LilimsError
    ├── UsageError
    │   └── FieldRangeError     a field of a request is out of range for its model; `param` names it
    ├── EngineError
    │   ├── QueueFullError      too many requests wait already; `retry_after` says when to come again
    │   ├── StalledError        whoever reads the answer has stopped reading
    │   └── StoppedError        the engine is not running, or ends
    └── ModelNotFoundError
        └── UnknownModelError   no model is served under that name

This file knows names and words. It must not know who raises them.
"""

from __future__ import annotations

from lilims.core.errors import LilimsError, ModelNotFoundError, UsageError

__all__ = ["EngineError", "FieldRangeError", "QueueFullError", "StalledError", "StoppedError", "UnknownModelError"]


class EngineError(LilimsError):
    """The engine cannot take or finish a request."""

    next_step = "try again"


class FieldRangeError(UsageError):
    """A field of a request does not fit the model that it asks.

    Attributes:
        param: the field.
    """

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param


class QueueFullError(EngineError):
    """Too many requests wait already.

    Attributes:
        retry_after: seconds after which a place is likely.
    """

    next_step = "try again in some seconds, or serve with a longer --queue"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StalledError(EngineError):
    """Nobody has read the answer for so long that its place was given to another."""

    next_step = "read the answer as it comes, or ask for it without streaming"


class StoppedError(EngineError):
    """The engine is not running: it was not started, or it is being stopped."""

    next_step = "start the server again"


class UnknownModelError(ModelNotFoundError):
    """No model is served under that name. Names are looked up, and never taken for paths."""

    next_step = "`lilims ls` lists the installed models; a folder is served by `lilims serve FOLDER`"
