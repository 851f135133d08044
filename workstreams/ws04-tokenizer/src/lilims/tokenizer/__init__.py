"""Text to token ids and back, from the tokenizer files that checkpoints carry.

Knows file formats and text. Must not know models, sessions or chat.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .files import tokenizer_files
    from .stream import StreamDecoder
    from .tokenizer import Tokenizer

__all__ = ["StreamDecoder", "Tokenizer", "tokenizer_files"]

_HOMES = {"StreamDecoder": "stream", "Tokenizer": "tokenizer", "tokenizer_files": "files"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
