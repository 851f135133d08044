"""Messages of the API as chat templates take them.

Knows both forms. Must not know templates.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .requests import CallOfTool, Message

__all__ = ["template_messages"]


def template_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Content is one text, arguments of calls are objects, and a developer speaks as the system."""
    return [_message(message) for message in messages]


def _message(message: Message) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    value: dict[str, Any] = {"role": role, "content": _text(message)}
    if message.tool_calls:
        value["tool_calls"] = [_call(call) for call in message.tool_calls]
    for name in ("name", "tool_call_id", "reasoning_content"):
        if (given := getattr(message, name)) is not None:
            value[name] = given
    return value


def _text(message: Message) -> str:
    if isinstance(message.content, list):
        return "".join(part.text for part in message.content)
    return message.content or ""


def _call(call: CallOfTool) -> dict[str, Any]:
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = call.function.arguments  # of another model's making: shown as it is
    return {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": arguments}}
