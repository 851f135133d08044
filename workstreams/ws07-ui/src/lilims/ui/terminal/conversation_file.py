"""A conversation as a file, and the KV cache beside it, so that it goes on where it was.

Knows both files. Must not know terminals.

    FILE       JSON, for people and programs: what was said, with which model
    FILE.kv    the KV cache (lilims.runtime.save_session), which spares running the conversation again

Both are private (mode 0600) and written whole or not at all. The cache may be absent, of another model, or older than
the conversation: what of it fits is used, and the rest is run.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lilims.core.errors import InputError, LilimsError
from lilims.core.files import read_json, write_atomic

from .conversation import Conversation, Message

if TYPE_CHECKING:
    from lilims.runtime import Model, Session

__all__ = ["Saved", "cache_of", "read", "restore", "write", "write_cache"]

_LIMIT = 64 << 20  # bytes of a file that is read
_ROLES = ("system", "user", "assistant")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[^/\\]{1,100})?")  # what may be installed, no path


@dataclass(frozen=True)
class Saved:
    """What a file says.

    Attributes:
        model: the name under which the model may be installed; None where it was a path.
        chats: whether the messages are a chat; else they are pieces of one text.
    """

    messages: list[Message]
    model: str | None
    chats: bool


def write(conversation: Conversation, path: Path, name: str | None) -> None:
    """Writes what was said.

    Raises:
        StorageError: it cannot be written.
    """
    value = {
        "kind": "conversation",
        "schema_version": 1,
        "model": name if name is not None and _NAME.fullmatch(name) else None,
        "form": "chat" if conversation.chats else "text",
        "messages": conversation.messages,
    }
    write_atomic(
        path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace"), private=True
    )


def write_cache(conversation: Conversation, path: Path) -> None:
    """Writes the KV cache beside the conversation's file.

    Raises:
        StorageError: it cannot be written.
    """
    if conversation.session.position:
        from lilims.runtime import save_session

        save_session(conversation.session, cache_of(path), model=conversation.model)


def cache_of(path: Path) -> Path:
    """The file of the KV cache that belongs to a conversation's."""
    return path.with_name(f"{path.name}.kv")


def read(path: Path) -> Saved:
    """What a file says, checked.

    Raises:
        InputError: there is no such file, or it is no conversation of this version.
    """
    found = read_json(path, limit=_LIMIT)
    if not isinstance(found, dict) or found.get("kind") != "conversation":
        raise InputError("is no conversation", where=path, hint="give a file that /save or --session wrote")
    if found.get("schema_version") != 1:
        raise InputError("is a conversation of a later version of lilims", where=path, hint="update lilims")
    messages, name = found.get("messages"), found.get("model")
    if not isinstance(messages, list) or not all(_is_message(one) for one in messages):
        raise InputError("holds messages that are none", where=path, hint="each has a role and a content, both text")
    named = isinstance(name, str) and _NAME.fullmatch(name) is not None
    return Saved([_clean(one) for one in messages], str(name) if named else None, found.get("form") != "text")


def restore(conversation: Conversation, saved: Saved, path: Path) -> str | None:
    """Makes a conversation go on from what was saved.

    Returns:
        why the cache could not be used, for people; None where it is, or where there is none.
    """
    session, problem = _session(conversation.model, conversation.policy, path)
    if saved.chats != conversation.chats:
        problem = "it was held in another form, as the model has " + ("a" if conversation.chats else "no") + " template"
    conversation.resume(saved.messages, session)
    return problem


def _session(model: Model, policy: str, path: Path) -> tuple[Session | None, str | None]:
    from lilims.runtime import load_session

    if not cache_of(path).is_file():
        return None, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # another executor: the text may differ, and that is fine
            session = load_session(model, cache_of(path))
    except LilimsError as exc:
        return None, f"{exc}; the conversation is run again"
    return (session, None) if session.policy.kind == policy else (None, None)


def _is_message(found: Any) -> bool:
    return isinstance(found, dict) and found.get("role") in _ROLES and isinstance(found.get("content"), str)


def _clean(message: Message) -> Message:
    """The fields that are known."""
    kept: Sequence[str] = ("role", "content", "reasoning_content")
    return {name: message[name] for name in kept if isinstance(message.get(name), str)}
