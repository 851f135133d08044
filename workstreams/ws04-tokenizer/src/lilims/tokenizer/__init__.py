"""Text to token ids and back, from the tokenizer files that checkpoints carry; conversations to prompts.

Knows file formats, text and chat formats. Must not know models or sessions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chat.reasoning import ReasoningSplitter, ReasoningTags
    from .chat.template import ChatTemplate
    from .chat.tool_calls import ToolCall, ToolCallParser, parse_tool_calls
    from .errors import ChatTemplateError
    from .files import has_tokenizer, tokenizer_files
    from .generation_config import generation_defaults
    from .stream import StreamDecoder
    from .tokenizer import Tokenizer

__all__ = [
    "ChatTemplate",
    "ChatTemplateError",
    "ReasoningSplitter",
    "ReasoningTags",
    "StreamDecoder",
    "Tokenizer",
    "ToolCall",
    "ToolCallParser",
    "generation_defaults",
    "has_tokenizer",
    "parse_tool_calls",
    "tokenizer_files",
]

_HOMES = {
    "ChatTemplate": "chat.template",
    "ChatTemplateError": "errors",
    "ReasoningSplitter": "chat.reasoning",
    "ReasoningTags": "chat.reasoning",
    "StreamDecoder": "stream",
    "Tokenizer": "tokenizer",
    "ToolCall": "chat.tool_calls",
    "ToolCallParser": "chat.tool_calls",
    "generation_defaults": "generation_config",
    "has_tokenizer": "files",
    "parse_tool_calls": "chat.tool_calls",
    "tokenizer_files": "files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
