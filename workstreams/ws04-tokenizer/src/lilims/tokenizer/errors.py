"""Errors of this package, below those of lilims.core.

Knows what went wrong. Must not know how it is shown.
"""

from __future__ import annotations

from lilims.core.errors import TokenizerError

__all__ = ["ChatTemplateError"]


class ChatTemplateError(TokenizerError):
    """A chat template is not Jinja that lilims runs, refuses the messages, or wants more than it may have."""

    next_step = "--raw does without the template"
