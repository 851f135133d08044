"""Errors of the `tokenizers` library as ours.

Knows how the library fails: with plain `Exception`s, and where its Rust code panics with a `BaseException` that no
`except Exception` stops. Must not know formats.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lilims.core.errors import TokenizerError

__all__ = ["library_errors"]


@contextlib.contextmanager
def library_errors(message: str, where: Path | None, hint: str) -> Iterator[None]:
    """Turns what the library raises inside the block into a `TokenizerError` "<message>: <the library's words>"."""
    try:
        yield
    except (TokenizerError, OSError):
        raise
    except BaseException as exc:
        if not isinstance(exc, Exception) and type(exc).__name__ != "PanicException":
            raise
        raise TokenizerError(f"{message}: {exc}", where=where, hint=hint) from exc
