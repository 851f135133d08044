"""Conversations as files: JSON, which keeps everything and can be imported again, and Markdown, for reading.

Knows the two forms. Must not know requests. Whatever is imported is hostile: it is checked as a whole before anything
is kept, and gets new ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .errors import RequestError
from .options import checked
from .prompts import branch, question
from .store import Store

__all__ = ["FORMAT", "as_json", "as_markdown", "file_name", "import_json", "import_markdown"]

FORMAT = "lilims.conversations/1"
_MOST = {"conversations": 2_000, "messages": 20_000, "text": 1 << 20, "attachments": 8}
_MESSAGE = ("id", "parent", "role", "content", "reasoning", "model", "status", "error", "statistics", "created")
_HEADINGS = {"user": "You", "assistant": "Answer"}


def as_json(conversations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All branches of conversations, as `import_json` takes them."""
    return {"format": FORMAT, "conversations": [_exported(conversation) for conversation in conversations]}


def _exported(conversation: Mapping[str, Any]) -> dict[str, Any]:
    names = ("title", "model", "system", "settings", "leaf", "created", "updated")
    messages = [{name: message[name] for name in (*_MESSAGE, "attachments")} for message in conversation["messages"]]
    return {name: conversation[name] for name in names} | {"messages": messages}


def as_markdown(conversation: Mapping[str, Any]) -> str:
    """The branch that is shown, for reading: a heading for each message."""
    when = datetime.fromtimestamp(conversation["created"], UTC).strftime("%Y-%m-%d")
    lines = [
        f"# {conversation['title']}",
        "",
        f"{when}" + (f", {conversation['model']}" if conversation["model"] else ""),
    ]
    if conversation["system"].strip():
        lines += ["", "## System", "", conversation["system"].strip()]
    for message in branch(conversation["messages"], conversation["leaf"]):
        lines += ["", f"## {_HEADINGS[message['role']]}", "", question(message).strip()]
    return "\n".join(lines) + "\n"


def file_name(title: str, suffix: str) -> str:
    """A name that every system takes for a file."""
    plain = re.sub(r"[^\w-]+", "-", title, flags=re.ASCII).strip("-")[:60].lower()
    return f"{plain or 'conversation'}.{suffix}"


def import_json(store: Store, value: Any) -> list[str]:
    """Keeps what `as_json` gave; ids of the new conversations.

    Raises:
        RequestError: it is something else; nothing was kept.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise _wrong(f"it is not an export of conversations ({FORMAT})")
    found = _items(value, "conversations", _MOST["conversations"])
    parsed = [_conversation(item) for item in found]
    with store.transaction():
        return [_keep(store, conversation, messages) for conversation, messages in reversed(parsed)]  # the latest last


def _conversation(item: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if not isinstance(item, dict):
        raise _wrong("a conversation is no object")
    messages = [_message(message) for message in _items(item, "messages", _MOST["messages"])]
    seen: set[str] = set()
    for message in messages:
        if message["id"] in seen or (message["parent"] is not None and message["parent"] not in seen):
            raise _wrong("the messages are no tree: an id stands twice, or a message before its parent")
        seen.add(message["id"])
    values = {
        "title": _text(item, "title")[:200],
        "system": _text(item, "system"),
        "settings": checked(item.get("settings") or {}),
        "model": _text(item, "model", missing=None),
    }
    leaf = item.get("leaf")
    return values | {"leaf": leaf if isinstance(leaf, str) and leaf in seen else None}, messages


def _message(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict) or item.get("role") not in tuple(_HEADINGS):  # a tuple: it may be a list, too
        raise _wrong("a message has no role, user or assistant")
    files = item.get("attachments") or []
    if not isinstance(files, list) or len(files) > _MOST["attachments"]:
        raise _wrong("attachments is no short list")
    status = item.get("status")
    ended = ("complete", "stopped", "failed", "moderated")
    return {
        "id": _text(item, "id"),
        "parent": _text(item, "parent", missing=None),
        "role": item["role"],
        "content": _text(item, "content"),
        "reasoning": _text(item, "reasoning"),
        "model": _text(item, "model", missing=None),
        "status": status if status in ended else "interrupted" if status in ("running", "interrupted") else "complete",
        "error": _text(item, "error", missing=None),
        "attachments": [{"name": _text(file, "name")[:200], "text": _text(file, "text")} for file in files],
    }


def _keep(store: Store, conversation: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    leaf = conversation.pop("leaf")
    new = store.create(**conversation)
    ids: dict[str | None, str | None] = {None: None}
    for message in messages:
        values = {name: message[name] for name in ("reasoning", "model", "status", "error", "attachments")}
        made = store.add(new, ids[message["parent"]], message["role"], message["content"], **values)
        ids[message["id"]] = made["id"]
    if messages:
        store.change(new, leaf=ids[leaf] or ids[messages[-1]["id"]])
    return new


def import_markdown(store: Store, text: str) -> list[str]:
    """Keeps a conversation that `as_markdown` wrote.

    Raises:
        RequestError: it has no heading of a message; nothing was kept.
    """
    names = {heading: role for role, heading in _HEADINGS.items()} | {"System": "system"}
    parts = re.split(rf"^## ({'|'.join(names)})[ \t]*$", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    if len(parts) < 3:
        raise _wrong("it has no heading `## You` or `## Answer`")
    title = re.search(r"^# (.+)$", parts[0], flags=re.MULTILINE)
    with store.transaction():
        new = store.create(**({"title": title[1]} if title else {}))
        parent = None
        for heading, content in zip(parts[1::2], parts[2::2], strict=True):
            if names[heading] == "system":
                store.change(new, system=content.strip())
            else:
                parent = store.add(new, parent, names[heading], content.strip())["id"]
    return [new]


def _items(value: Mapping[str, Any], name: str, most: int) -> list[Any]:
    items = value.get(name)
    if not isinstance(items, list) or len(items) > most:
        raise _wrong(f"{name} is no list of at most {most}")
    return items


def _text(item: Any, name: str, missing: Any = "") -> Any:
    value = item.get(name) if isinstance(item, dict) else None
    if value is None:
        return missing
    if not isinstance(value, str) or len(value) > _MOST["text"]:
        raise _wrong(f"{name} is no text of at most {_MOST['text']} characters")
    return value


def _wrong(problem: str) -> RequestError:
    return RequestError(f"this cannot be imported: {problem}", hint="nothing was kept of it")
