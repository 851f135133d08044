"""The one file: SQLite, private, bounded in size and age, safe with several processes and under kill -9.

Knows tables and how they are bounded. Must not know what records mean.

    resource    a machine and version of lilims, as JSON        one row for each that differs
    record      time (seconds since 1970), name, resource, attributes as JSON
    crash       time, report

Writers take turns (write-ahead log, `BEGIN IMMEDIATE`); a killed one loses what it had not written, and nothing else.
What is deleted is overwritten with zeros (`secure_delete`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from lilims.core.errors import StorageError
from lilims.core.files import storage_errors
from lilims.core.paths import home
from lilims.core.settings import settings

__all__ = ["VERSION", "Crash", "Record", "Store", "database"]

VERSION = 1
_APPLICATION = 0x4C494C54  # in the file's header, so that no other program's file is taken for ours
_PATIENCE = 5.0  # seconds that a writer waits for the others
_CRASHES = 20  # reports that are kept
_SCHEMA = """
CREATE TABLE resource(id INTEGER PRIMARY KEY, attributes TEXT NOT NULL UNIQUE);
CREATE TABLE record(id INTEGER PRIMARY KEY, time REAL NOT NULL, name TEXT NOT NULL,
                    resource INTEGER NOT NULL REFERENCES resource, attributes TEXT NOT NULL);
CREATE INDEX record_time ON record(time);
CREATE TABLE crash(id INTEGER PRIMARY KEY, time REAL NOT NULL, report TEXT NOT NULL);
"""
_NEXT_STEP = "`lilims telemetry erase` begins a new file"


def database() -> Path:
    """Where the file is."""
    return home() / "telemetry" / "telemetry.sqlite3"


@dataclass(frozen=True)
class Record:
    """An event as it was kept: `time` in seconds since 1970, both tables by the names of kept.py and device.py."""

    id: int
    time: float
    name: str
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass(frozen=True)
class Crash:
    """A crash report."""

    id: int
    time: float
    report: str


class Store:
    """The open file. One thread uses it; other threads and processes open it for themselves.

    Raises:
        StorageError: the file cannot be made or read, is damaged, not ours, or from a later version of lilims.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: str | PathLike[str] | None = None) -> Store:
        """Opens the file, and makes it where it is absent. None is the file of the commands."""
        path = database() if path is None else Path(path)
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(FileExistsError):  # SQLite gives its other files the mode of this one
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with _sqlite_errors(path):
            connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
            try:
                _prepare(connection, path)
            except BaseException:
                connection.close()
                raise
            return cls(path, connection)

    @classmethod
    def open_if_present(cls, path: Path | None = None) -> Store | None:
        """The same, or None where nothing was ever recorded."""
        path = path or database()
        return cls.open(path) if path.is_file() else None

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, records: Iterable[tuple[float, str, Mapping[str, Any]]], resource: Mapping[str, Any]) -> None:
        """Writes records (time, name, attributes), all or none. `bound` drops what is too old or too much."""
        with self._transaction() as run:
            text = _json(resource)
            run("INSERT OR IGNORE INTO resource(attributes) VALUES (?)", (text,))
            (number,) = run("SELECT id FROM resource WHERE attributes = ?", (text,)).fetchone()
            for when, name, attributes in records:
                run(
                    "INSERT INTO record(time, name, resource, attributes) VALUES (?, ?, ?, ?)",
                    (when, name, number, _json(attributes)),
                )

    def add_crash(self, report: str) -> None:
        """Writes a crash report; the oldest go where there are too many."""
        with self._transaction() as run:
            run("INSERT INTO crash(time, report) VALUES (?, ?)", (time.time(), report))
            run("DELETE FROM crash WHERE id NOT IN (SELECT id FROM crash ORDER BY id DESC LIMIT ?)", (_CRASHES,))

    def bound(self) -> None:
        """Drops records older than `telemetry_days`, and the oldest while the file is larger than `telemetry_mb`."""
        oldest = time.time() - settings().telemetry_days * 86400
        with self._transaction() as run:
            run("DELETE FROM record WHERE time < ?", (oldest,))
            run("DELETE FROM crash WHERE time < ?", (oldest,))
        while self._used() > settings().telemetry_mb * 1_000_000:
            with self._transaction() as run:
                (count,) = run("SELECT count(*) FROM record").fetchone()
                if not count:
                    break
                run("DELETE FROM record WHERE id IN (SELECT id FROM record ORDER BY id LIMIT ?)", (count // 4 + 1,))
        with self._transaction() as run:
            run("DELETE FROM resource WHERE id NOT IN (SELECT resource FROM record)")
        with _sqlite_errors(self._path):
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()

    def records(self, *, names: Iterable[str] = (), since: float = 0.0, last: int | None = None) -> list[Record]:
        """Records in the order of time.

        Args:
            names: of these events; none is of all.
            since: no older than this, in seconds since 1970.
            last: at most so many, the newest.
        """
        wanted = tuple(names)
        where = f" AND name IN ({','.join('?' * len(wanted))})" if wanted else ""
        query = (
            "SELECT record.id, time, name, record.attributes, resource.attributes FROM record JOIN resource "
            f"ON resource.id = record.resource WHERE time >= ?{where} ORDER BY time DESC, record.id DESC LIMIT ?"
        )
        with _sqlite_errors(self._path):
            rows = self._connection.execute(query, (since, *wanted, -1 if last is None else last)).fetchall()
            return [Record(i, when, name, json.loads(a), json.loads(r)) for i, when, name, a, r in reversed(rows)]

    def crashes(self) -> list[Crash]:
        """All crash reports, the newest first."""
        with _sqlite_errors(self._path):
            rows = self._connection.execute("SELECT id, time, report FROM crash ORDER BY id DESC").fetchall()
        return [Crash(*row) for row in rows]

    def count(self) -> int:
        """How many records there are."""
        with _sqlite_errors(self._path):
            (count,) = self._connection.execute("SELECT count(*) FROM record").fetchone()
        return int(count)

    def erase(self) -> None:
        """Removes all rows; their bytes are gone from the file and from its log, also while others have it open."""
        with self._transaction() as run:
            for table in ("record", "crash", "resource"):
                run(f"DELETE FROM {table}")
        with _sqlite_errors(self._path):
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _used(self) -> int:
        """Bytes of the pages that hold something."""
        with _sqlite_errors(self._path):
            size, pages, free = (
                self._connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_size", "page_count", "freelist_count")
            )
        return int(size * (pages - free))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        with _sqlite_errors(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the tables where there are none; refuses a file that is not ours."""
    for pragma in ("secure_delete = ON", "synchronous = NORMAL", "journal_size_limit = 1000000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    if _version(connection, path) == VERSION:
        return
    _to_wal(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection, path) != VERSION:  # another process may have been faster
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _to_wal(connection: sqlite3.Connection) -> None:
    """Turns the write-ahead log on. SQLite does not wait there for another process that does the same: so we do."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The file's version; 0 is a new file."""
    version, application, pages = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("user_version", "application_id", "schema_version")
    )
    if version > VERSION:
        raise StorageError("is from a later version of lilims", where=path, hint=f"update lilims; {_NEXT_STEP}")
    if application != _APPLICATION and pages:
        raise StorageError("is no telemetry file", where=path, hint=_NEXT_STEP)
    return version


@contextlib.contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as exc:
        raise StorageError(
            f"cannot be used: {exc}", where=path, hint="check the folder's permissions and the disk"
        ) from exc
    except (sqlite3.DatabaseError, ValueError) as exc:
        raise StorageError(f"is damaged: {exc}", where=path, hint=_NEXT_STEP) from exc


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), separators=(",", ":"), sort_keys=True, allow_nan=False)
