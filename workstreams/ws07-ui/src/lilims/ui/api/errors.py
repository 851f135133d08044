"""Errors as OpenAI's API writes them: `{"error": {"message", "type", "param", "code"}}` and a status.

Knows which error has which status. Must not know where errors come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.responses import Response

from lilims.core.errors import (
    ContextOverflowError,
    LilimsError,
    ModelNotFoundError,
    OutOfMemoryError,
    TokenizerError,
    UnsupportedError,
    UsageError,
)
from lilims.runtime.errors import ConstraintError
from lilims.tokenizer import ChatTemplateError

from ..engine.errors import FieldRangeError, QueueFullError, StalledError, StoppedError

__all__ = ["ApiError", "api_error", "error_response", "naming"]

_KINDS: list[tuple[type[LilimsError], int, str | None]] = [
    (ContextOverflowError, 400, "context_length_exceeded"),
    (ModelNotFoundError, 404, "model_not_found"),
    (ConstraintError, 400, "invalid_constraint"),
    (ChatTemplateError, 400, "invalid_messages"),
    (TokenizerError, 400, "no_tokenizer"),
    (UsageError, 400, "invalid_value"),
    (UnsupportedError, 400, "unsupported"),
    (QueueFullError, 503, "server_overloaded"),
    (StoppedError, 503, "server_stopping"),
    (OutOfMemoryError, 503, "out_of_memory"),
    (StalledError, 408, "stalled"),
]
"""Error, status, code; the first that fits. Whatever else lilims raises is the server's: 500."""
_PARAMS = {
    "context_length_exceeded": "messages", "model_not_found": "model", "invalid_messages": "messages",
    "no_tokenizer": "model",
}  # fmt: skip
_OF_COMMANDS = (UsageError, ChatTemplateError)
"""Errors whose own hint names options of a command line, which a client does not have."""
_TYPES = {401: "authentication_error", 403: "permission_error", 408: "timeout_error", 503: "service_unavailable_error"}


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        message: what is wrong.
        code: a word that programs can tell it by.
        param: the field that it is wrong in.
        hint: what to do next; stands behind the message.
        retry_after: seconds.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        param: str | None = None,
        hint: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = f"{message} ({hint})" if hint else message
        self.code = code
        self.param = param
        self.retry_after = retry_after

    @property
    def type(self) -> str:
        """OpenAI's word for the kind of error."""
        return _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    def as_dict(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def api_error(error: BaseException) -> ApiError:
    """The answer that an error becomes. Of errors that nobody foresaw only the kind is told."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValidationError):
        return _invalid(error)
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            wait = error.retry_after if isinstance(error, QueueFullError) else None
            hint = None if error.hint in [one.next_step for one in _OF_COMMANDS] else error.hint
            param = error.param if isinstance(error, FieldRangeError) else _PARAMS.get(code or "")
            return ApiError(status, error.message, code, param=param, hint=hint, retry_after=wait)
    if isinstance(error, LilimsError):
        return ApiError(500, error.message, type(error).__name__)
    return ApiError(500, f"unexpected {type(error).__name__}", "internal_error")


@contextmanager
def naming(kind: type[LilimsError], param: str) -> Iterator[None]:
    """Errors of a kind say that it is this field of the request that they are about."""
    try:
        yield
    except kind as error:
        known = api_error(error)
        known.param = param
        raise known from error


def error_response(error: ApiError) -> Response:
    """The error as a response."""
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    body = json.dumps(error.as_dict()).encode()
    return Response(body, error.status, headers, media_type="application/json")


def _invalid(error: ValidationError) -> ApiError:
    """The first thing that is wrong with a request, as `field.0.name: what`."""
    found = error.errors(include_url=False, include_input=False)
    start = _place(found[0])
    same = [one for one in found if _place(one)[: len(start)] == start]
    # of a value of several types each has its say: the one that read furthest into the value was meant
    first = max(same, key=lambda one: (len(_place(one)), not one["type"].endswith("_type")))
    param = ".".join(_place(first)) or getattr(first.get("ctx", {}).get("error"), "param", None)
    message = first["msg"].removeprefix("Value error, ")
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return ApiError(400, f"{param}: {message}" if first["loc"] else message, code, param=param)


def _place(error: ErrorDetails) -> list[str]:
    """Where an error is, in the request's own words."""
    return [str(part) for part in error["loc"] if not _is_tag(part)]


def _is_tag(part: str | int) -> bool:
    """Whether a part of a place is pydantic's name for one of several types, and no field."""
    return isinstance(part, str) and not part.replace("_", "").isalnum()
