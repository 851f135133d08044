"""Errors of the runtime beyond those of `lilims.core.errors`.

    LilimsError
    ├── ExecutionError
    │   └── StateLostError       the process that held a state is gone; the tokens are not
    └── InputError
        ├── ConstraintError      a schema, expression or grammar cannot be followed
        └── SessionFileError     a saved session is damaged, foreign, or from a later version
            └── OtherModelError  it belongs to another model

This file knows names and words. It must not know who raises them.
"""

from __future__ import annotations

from lilims.core.errors import ExecutionError, InputError

__all__ = ["ConstraintError", "OtherModelError", "SessionFileError", "StateLostError"]


class ConstraintError(InputError):
    """A JSON schema, regular expression or grammar is invalid, unsupported, contradictory or too large."""

    next_step = "docs/sampling.md says what schemas, expressions and grammars may hold"


class SessionFileError(InputError):
    """A saved session is damaged, cut off, no session at all, or from a later version of lilims."""

    next_step = "save the session again; its text can be put in as a prompt instead"


class OtherModelError(SessionFileError):
    """A saved session belongs to another model: other weights, another tokenizer, or another shape of the cache."""

    next_step = "load the model that it was saved with"


class StateLostError(ExecutionError):
    """The process that held a state has ended or was stopped, or another executor has taken over.

    The executor goes on: a state made anew and fed the same tokens holds what was lost.
    """

    next_step = "run the tokens again on a new state; `lilims doctor` shows what this machine can run"
