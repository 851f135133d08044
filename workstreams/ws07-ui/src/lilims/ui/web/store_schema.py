"""The database of conversations: its tables, and how one is opened.

Knows SQL and files. Must not know what a conversation means.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from lilims.core.errors import StorageError
from lilims.core.files import storage_errors

__all__ = ["VERSION", "open_database"]

VERSION = 1

_SCHEMA = """
CREATE TABLE conversations (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    named INTEGER NOT NULL DEFAULT 0,   -- 1: the user gave the title
    model TEXT,
    system TEXT NOT NULL DEFAULT '',
    settings TEXT NOT NULL DEFAULT '{}',
    leaf TEXT,                          -- the last message of the branch that is shown
    created REAL NOT NULL,
    updated REAL NOT NULL
);
CREATE INDEX conversations_updated ON conversations (updated DESC);
CREATE TABLE messages (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    parent TEXT REFERENCES messages (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    content TEXT NOT NULL DEFAULT '',
    reasoning TEXT NOT NULL DEFAULT '',
    attachments TEXT NOT NULL DEFAULT '[]',
    model TEXT,
    status TEXT NOT NULL,
    error TEXT,
    statistics TEXT,
    created REAL NOT NULL
);
CREATE INDEX messages_conversation ON messages (conversation, number);
CREATE INDEX messages_parent ON messages (parent);
CREATE INDEX messages_running ON messages (status) WHERE status = 'running';
-- Substrings are found, in every script; a message's row has the message's number.
CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = 'trigram');
CREATE TRIGGER messages_forgotten AFTER DELETE ON messages BEGIN DELETE FROM texts WHERE rowid = old.number; END;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Opens the database, and makes it where it is absent; nobody but the owner may read it.

    Raises:
        StorageError: it cannot be written, is damaged, or was made by a later version of lilims.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
        _prepare(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StorageError(
            f"is not a database of conversations: {error}", where=path, hint="move the file away to start a new one"
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the tables of a new database; refuses one of a later version."""
    connection.execute("BEGIN IMMEDIATE")  # a second process that starts now waits
    try:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if found > VERSION:
            raise StorageError(
                f"has the format {found}, this lilims reads up to {VERSION}", where=path, hint="update lilims"
            )
        if found == 0:
            for statement in _statements(_SCHEMA):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _statements(script: str) -> list[str]:
    """The statements of a script: `executescript` would end the transaction."""
    found, current = [], ""
    for line in script.splitlines():
        current += line + "\n"
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found
