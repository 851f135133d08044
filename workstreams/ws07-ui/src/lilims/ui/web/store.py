"""Conversations and their messages, in one SQLite file.

The messages of a conversation are a tree: an edited question, or an answer given again, is a sibling of the first. The
branch that is shown is the way from its `leaf` to the root. Knows what is kept. Must not know how answers are made.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lilims.core.errors import StorageError

from .errors import NotThereError
from .store_schema import open_database

__all__ = ["Store"]

_UNTITLED = "New chat"
_TITLE = 80  # characters
_CONVERSATION = {"title", "model", "system", "settings", "leaf"}
_MESSAGE = {"content", "reasoning", "status", "error", "statistics", "model"}


class Store:
    """The conversations of one user. Calls may come from any thread; each is a transaction of its own."""

    def __init__(self, path: Path) -> None:
        """Opens the file, and makes it where it is absent.

        Raises:
            StorageError: it cannot be written, is damaged, or was made by a later version of lilims.
        """
        self.path = path
        self._lock = threading.RLock()
        self._database = open_database(path)

    def close(self) -> None:
        """Writes what stands in the log into the file, and closes it."""
        with self._lock:
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done in the block, or nothing of it; blocks may be nested.

        Raises:
            StorageError: the disk is full, or the file is locked or damaged.
        """
        with self._lock, self._errors():
            if self._database.in_transaction:
                yield self._database
                return
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # a full disk may have ended it
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StorageError(f"the conversations cannot be read or written: {error}", where=self.path) from error

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock, self._errors():
            return self._database.execute(query, values).fetchall()

    # conversations

    def conversations(self, query: str = "", *, limit: int = 500) -> list[dict[str, Any]]:
        """Conversations, the latest first; with a query those whose title or text has each of its words.

        Returns:
            for each its id, title, model, created, updated, and with a query `excerpt`, where it was found.
        """
        words = query.replace("\0", " ").split()[:16]  # for SQLite's search a NUL is the end
        if not words:
            rows = self._rows("SELECT * FROM conversations ORDER BY updated DESC LIMIT ?", limit)
            return [_summary(row) for row in rows]
        excerpts = self._found(words)
        rows = self._rows("SELECT * FROM conversations ORDER BY updated DESC")
        lowered = [word.casefold() for word in words]
        return [
            _summary(row) | {"excerpt": excerpts.get(row["id"], "")}
            for row in rows
            if row["id"] in excerpts or all(word in row["title"].casefold() for word in lowered)
        ][:limit]

    def _found(self, words: list[str]) -> dict[str, str]:
        """Of each conversation with a message that has all the words, some of the text around them."""
        long = [word for word in words if len(word) >= 3]  # a trigram index knows nothing shorter
        where, values = [], []
        if long:
            where.append("texts MATCH ?")
            values.append(" ".join('"' + word.replace('"', '""') + '"' for word in long))
        for word in words:
            if len(word) < 3:
                where.append("text LIKE ? ESCAPE '\\'")
                escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
                values.append(f"%{escaped}%")
        excerpt = "snippet(texts, 0, '', '', '…', 24)" if long else "substr(text, 1, 80)"
        rows = self._rows(
            f"SELECT m.conversation, {excerpt} AS excerpt FROM texts JOIN messages m ON m.number = texts.rowid"
            f" WHERE {' AND '.join(where)} LIMIT 2000",
            *values,
        )
        return {row["conversation"]: " ".join(row["excerpt"].split()) for row in rows}

    def conversation(self, id_: str) -> dict[str, Any]:
        """A conversation with all its messages, oldest first.

        Raises:
            NotThereError: there is none.
        """
        with self._lock:
            rows = self._rows("SELECT * FROM conversations WHERE id = ?", id_)
            if not rows:
                raise NotThereError("conversation", id_)
            messages = self._rows("SELECT * FROM messages WHERE conversation = ? ORDER BY number", id_)
        row = rows[0]
        return _summary(row) | {
            "system": row["system"],
            "settings": json.loads(row["settings"]),
            "leaf": row["leaf"],
            "messages": [_message(message) for message in messages],
        }

    def create(self, **values: Any) -> str:
        """A new conversation, with any of title, model, system and settings; its id."""
        now = time.time()
        id_ = secrets.token_urlsafe(9)
        with self.transaction() as database:
            database.execute(
                "INSERT INTO conversations (id, title, created, updated) VALUES (?, ?, ?, ?)",
                (id_, _UNTITLED, now, now),
            )
            self.change(id_, **values)
        return id_

    def change(self, id_: str, **values: Any) -> None:
        """Changes some of title, model, system, settings and leaf.

        Raises:
            NotThereError: there is no such conversation, or the leaf is no message of it.
        """
        assert values.keys() <= _CONVERSATION, values
        with self.transaction() as database:
            if "settings" in values:
                values["settings"] = json.dumps(values["settings"])
            if "title" in values:
                title = " ".join(str(values["title"]).split())[:200]
                values |= {"title": title or _UNTITLED, "named": int(bool(title))}
            if values.get("leaf") is not None and self.message(values["leaf"])["conversation"] != id_:
                raise NotThereError("message", values["leaf"])
            _update(database, "conversations", id_, values, "conversation")

    def delete(self, id_: str) -> None:
        """Removes a conversation and its messages; their bytes are overwritten.

        Raises:
            NotThereError: there is none.
        """
        with self.transaction() as database:
            # before its messages: a row that refers to one that goes first would be looked up each time
            if not database.execute("DELETE FROM conversations WHERE id = ?", (id_,)).rowcount:
                raise NotThereError("conversation", id_)
            database.execute("INSERT INTO texts(texts) VALUES('optimize')")  # drops the words of what is gone
        with self._lock:
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # messages

    def message(self, id_: str) -> dict[str, Any]:
        """A message.

        Raises:
            NotThereError: there is none.
        """
        rows = self._rows("SELECT * FROM messages WHERE id = ?", id_)
        if not rows:
            raise NotThereError("message", id_)
        return _message(rows[0])

    def add(self, conversation: str, parent: str | None, role: str, content: str = "", **values: Any) -> dict[str, Any]:
        """A new message below `parent` (None: a first one), which becomes the leaf.

        Raises:
            NotThereError: there is no such conversation, or the parent is no message of it.
        """
        id_, now = values.pop("id", None) or secrets.token_urlsafe(9), time.time()
        with self.transaction() as database:
            if parent is not None and self.message(parent)["conversation"] != conversation:
                raise NotThereError("message", parent)
            if not self._rows("SELECT 1 FROM conversations WHERE id = ?", conversation):
                raise NotThereError("conversation", conversation)
            number = database.execute(
                "INSERT INTO messages (id, conversation, parent, role, attachments, status, created)"
                " VALUES (?, ?, ?, ?, ?, 'complete', ?)",
                (id_, conversation, parent, role, json.dumps(values.pop("attachments", [])), now),
            ).lastrowid
            database.execute("INSERT INTO texts (rowid, text) VALUES (?, '')", (number,))
            self.write(id_, content=content, **values)
            database.execute("UPDATE conversations SET leaf = ?, updated = ? WHERE id = ?", (id_, now, conversation))
            if role == "user":
                self._name(database, conversation, content)
        return self.message(id_)

    def write(self, id_: str, **values: Any) -> None:
        """Changes some of a message's content, reasoning, status, error, statistics and model.

        Raises:
            NotThereError: there is no such message.
        """
        assert values.keys() <= _MESSAGE, values
        if values.get("statistics") is not None:
            values["statistics"] = json.dumps(values["statistics"])
        with self.transaction() as database:
            _update(database, "messages", id_, values, "message")
            if values.get("content"):
                number = "(SELECT number FROM messages WHERE id = ?)"
                database.execute(f"UPDATE texts SET text = ? WHERE rowid = {number}", (values["content"], id_))

    def interrupt(self, among: set[str]) -> None:
        """Marks answers as interrupted that stand as running, and are not `among` those that do run."""
        for row in self._rows("SELECT id FROM messages WHERE status = 'running'"):
            if row["id"] not in among:
                self.write(row["id"], status="interrupted")

    def _name(self, database: sqlite3.Connection, conversation: str, content: str) -> None:
        """Gives a conversation without a name the beginning of its first question."""
        text = " ".join(content.split())
        title = text if len(text) <= _TITLE else text[: _TITLE - 1].rstrip() + "…"
        database.execute(
            "UPDATE conversations SET title = ? WHERE id = ? AND named = 0 AND title = ?",
            (title or _UNTITLED, conversation, _UNTITLED),
        )

    # facts

    def fact(self, name: str, default: Any = None) -> Any:
        """A value that was kept under a name, as `keep` took it."""
        rows = self._rows("SELECT value FROM facts WHERE name = ?", name)
        return json.loads(rows[0]["value"]) if rows else default

    def keep(self, **values: Any) -> None:
        """Keeps JSON values under names."""
        with self.transaction() as database:
            for name, value in values.items():
                database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))


def _update(database: sqlite3.Connection, table: str, id_: str, values: Mapping[str, Any], what: str) -> None:
    assignments = ", ".join(f"{name} = ?" for name in values) or "id = id"
    done = database.execute(f"UPDATE {table} SET {assignments} WHERE id = ?", (*values.values(), id_))
    if not done.rowcount:
        raise NotThereError(what, id_)


def _summary(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "title", "model", "created", "updated")}


def _message(row: sqlite3.Row) -> dict[str, Any]:
    names = ("id", "conversation", "parent", "role", "content", "reasoning", "model", "status", "error", "created")
    return {name: row[name] for name in names} | {
        "attachments": json.loads(row["attachments"]),
        "statistics": json.loads(row["statistics"]) if row["statistics"] else None,
    }
