"""Text to token ids and back, from the tokenizer files that checkpoints carry; conversations to prompts.

Knows file formats, text and chat formats. Must not know models or sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

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

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
