"""Errors of the web chat, each with the status that it is answered with.

Knows wording and HTTP statuses. Must not know who raises them.
"""

from __future__ import annotations

from lilims.core.errors import LilimsError

__all__ = ["NotAllowedError", "NotThereError", "RequestError", "status_of"]


class NotThereError(LilimsError):
    """A conversation or a message that is asked for does not exist (any more)."""

    next_step = "load the page again: it may have been deleted in another window"

    def __init__(self, what: str, id_: str) -> None:
        super().__init__(f"there is no {what} {id_!r}")


class RequestError(LilimsError):
    """A request of the page has not the right form."""

    next_step = "load the page again"


class NotAllowedError(LilimsError):
    """The age gate, moderation or a PIN stands against it.

    Args:
        code: which of them: age_unknown, under_age, moderated, moderation_missing, pin_wrong, pin_locked, pin_needed.
    """

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


def status_of(error: LilimsError) -> int:
    """The HTTP status of an error."""
    from lilims.core.errors import ModelNotFoundError, StorageError, UsageError

    statuses: tuple[tuple[type[LilimsError], int], ...] = (
        (NotThereError, 404),
        (ModelNotFoundError, 404),
        (NotAllowedError, 403),
        (RequestError, 400),
        (UsageError, 400),
        (StorageError, 507),
    )
    return next((status for kind, status in statuses if isinstance(error, kind)), 422)
