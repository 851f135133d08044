"""The file: private, bounded, erased to the last byte, refused where it is not ours."""

from __future__ import annotations

import sqlite3
import stat
import sys
import time
from pathlib import Path

import pytest

from lilims.core.errors import StorageError
from lilims.core.settings import settings
from lilims.telemetry import Store, database, keep

from .helpers import MODEL, done

MACHINE = {"service.name": "lilims", "host.arch": "x86_64"}
KEPT = keep("generate.done", done()) or {}


def fill(store: Store, count: int, *, when: float | None = None) -> None:
    store.add([((when or time.time()) + n / 1000, "generate.done", KEPT) for n in range(count)], MACHINE)
    store.bound()


def test_records_come_back_in_the_order_of_time(home: Path) -> None:
    now = time.time()
    with Store.open() as store:
        store.add([(now, "generate.done", KEPT), (now - 5, "command.failed", {"error.type": "UsageError"})], MACHINE)
        names = [(record.name, record.attributes, record.resource) for record in store.records()]
        assert names == [("command.failed", {"error.type": "UsageError"}, MACHINE), ("generate.done", KEPT, MACHINE)]
        assert [record.name for record in store.records(last=1)] == ["generate.done"]
        assert [record.name for record in store.records(since=now - 1)] == ["generate.done"]
        assert [record.name for record in store.records(names=["command.failed"])] == ["command.failed"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_all_of_its_files_are_private(home: Path) -> None:
    with Store.open() as store:
        fill(store, 10)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in database().parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3, "the file, its log and the log's index"
    assert stat.S_IMODE(database().parent.stat().st_mode) == 0o700


def test_old_records_and_reports_go(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_TELEMETRY_DAYS", "10")
    settings.cache_clear()
    with Store.open() as store:
        fill(store, 3, when=time.time() - 11 * 86400)
        fill(store, 2, when=time.time() - 9 * 86400)
        assert store.count() == 2


def test_the_file_stays_below_its_bound(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_TELEMETRY_MB", "1")
    settings.cache_clear()
    with Store.open() as store:
        for _ in range(12):
            fill(store, 400)
        assert 500 < store.count() < 4800
        newest = store.records(last=1)[0].id
    size = sum(path.stat().st_size for path in database().parent.iterdir())
    assert size < 2_100_000, "the records' megabyte, and one of the log"
    assert newest == 4800, "the newest are kept"


def test_twenty_crash_reports_are_kept(home: Path) -> None:
    with Store.open() as store:
        for number in range(25):
            store.add_crash(f"report {number}")
        assert [crash.report for crash in store.crashes()] == [f"report {n}" for n in range(24, 4, -1)]


def test_erased_bytes_are_gone_while_others_have_it_open(home: Path) -> None:
    with Store.open() as other, Store.open() as store:
        fill(other, 50)
        other.add_crash("a crash in session.py")
        assert other.count() == 50
        store.erase()
        assert other.count() == 0
    left = b"".join(path.read_bytes() for path in database().parent.iterdir())
    assert MODEL.encode() not in left
    assert b"session.py" not in left
    with Store.open() as store:
        fill(store, 1)
        assert store.count() == 1


def test_a_table_that_fails_leaves_nothing_half_written(home: Path) -> None:
    with Store.open() as store:
        with pytest.raises(StorageError):
            store.add([(1e10, "generate.done", KEPT), (1e10, "generate.done", {"x": float("nan")})], MACHINE)
        assert store.count() == 0


def damaged(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to look at" * 100)


def cut(path: Path) -> None:
    with Store.open(path) as store:
        fill(store, 500)
    path.write_bytes(path.read_bytes()[:9000])


def later(path: Path) -> None:
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine(x)")
    connection.close()


FILES = {
    damaged: "is damaged: file is not a database",
    cut: "is damaged",
    later: "is from a later version of lilims",
    foreign: "is no telemetry file",
}


@pytest.mark.parametrize(("make", "message"), FILES.items(), ids=[make.__name__ for make in FILES])
def test_a_file_that_cannot_be_used_is_refused(make: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "telemetry.sqlite3"
    assert callable(make)
    make(path)
    with pytest.raises(StorageError, match=message) as raised, Store.open(path) as store:
        store.records()
    assert str(path) in str(raised.value)
    assert "erase" in str(raised.value.hint)
