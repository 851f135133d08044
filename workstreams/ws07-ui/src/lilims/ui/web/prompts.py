"""From a branch of a conversation to what a model is given.

A model with a chat template gets messages. One without continues a text: it gets the text so far, and no roles are put
on it that it has never seen. Knows messages. Must not know models, nor where messages are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["branch", "chat_messages", "plain_text"]

Message = Mapping[str, Any]


def branch(messages: Sequence[Message], leaf: str | None) -> list[Message]:
    """The messages from the first one to `leaf`; none where there is no such message."""
    known = {message["id"]: message for message in messages}
    found: list[Message] = []
    while leaf is not None and leaf in known and len(found) < len(known):
        found.append(known[leaf])
        leaf = known[leaf]["parent"]
    return found[::-1]


def chat_messages(path: Sequence[Message], system: str = "") -> list[dict[str, str]]:
    """A branch as a chat template takes it, with the system prompt first and attached files before their question."""
    found = [{"role": "system", "content": system}] if system.strip() else []
    return found + [{"role": message["role"], "content": question(message)} for message in path]


def plain_text(path: Sequence[Message], system: str = "") -> str:
    """A branch as one text that goes on: every message behind the one before it."""
    text = f"{system.strip()}\n\n" if system.strip() else ""
    for message in path:
        more = question(message)
        apart = " " if text and not text[-1].isspace() and more[:1].isalnum() and message["role"] == "user" else ""
        text += apart + more
    return text


def question(message: Message) -> str:
    """A message's text with its attached files, each in a fence that nothing inside it closes."""
    parts = []
    for file in message.get("attachments") or ():
        fence = "```"
        while fence in file["text"]:
            fence += "`"
        parts.append(f"{file['name']}:\n{fence}\n{file['text'].rstrip()}\n{fence}\n\n")
    return "".join(parts) + str(message["content"])
