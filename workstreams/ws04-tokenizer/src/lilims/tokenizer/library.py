"""Errors of the `tokenizers` library as ours.

Knows how the library fails: with plain `Exception`s, and where its Rust code panics with a `BaseException` that no
`except Exception` stops. Must not know formats.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from lilims.core.errors import TokenizerError

__all__ = ["ids_of", "library_errors"]

_SHORT = 64  # characters, under which the call for batches is the slower one


class library_errors:  # used as a function; as a generator it would cost as much as a short text
    """Turns what the library raises inside the block into a `TokenizerError` "<message>: <the library's words>"."""

    __slots__ = ("_hint", "_message", "_where")

    def __init__(self, message: str, where: Path | None, hint: str) -> None:
        self._message, self._where, self._hint = message, where, hint

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None or isinstance(exc, (TokenizerError, OSError)):
            return
        if issubclass(kind, Exception) or kind.__name__ == "PanicException":
            raise TokenizerError(f"{self._message}: {exc}", where=self._where, hint=self._hint) from exc


def ids_of(backend: Any, text: str, add_special_tokens: bool) -> list[int]:
    """A text's ids. The library's call for batches leaves out where tokens stand, which costs as much as a fifth."""
    if len(text) < _SHORT:
        ids: list[int] = backend.encode(text, None, False, add_special_tokens).ids
    else:
        ids = backend.encode_batch_fast([text], False, add_special_tokens)[0].ids
    return ids
