"""Conversations in SQLite: the tree, search, what is deleted, files of others."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from lilims.core.errors import StorageError
from lilims.ui.web.errors import NotThereError
from lilims.ui.web.store import Store


def test_a_new_version_is_a_sibling(store: Store) -> None:
    chat = store.create(model="talker")
    first = store.add(chat, None, "user", "one")
    answer = store.add(chat, first["id"], "assistant", "an answer")
    second = store.add(chat, None, "user", "two")
    kept = store.conversation(chat)
    assert [message["parent"] for message in kept["messages"]] == [None, first["id"], None]
    assert kept["leaf"] == second["id"]
    store.change(chat, leaf=answer["id"])
    assert store.conversation(chat)["leaf"] == answer["id"]


def test_the_first_question_is_the_title_until_the_user_gives_one(store: Store) -> None:
    chat = store.create()
    store.add(chat, None, "user", "What   is\na rainbow? " + "x" * 200)
    title = store.conversation(chat)["title"]
    assert title.startswith("What is a rainbow? xxx") and title.endswith("…") and len(title) == 80
    store.change(chat, title="Rainbows")
    store.add(chat, None, "user", "something else")
    assert store.conversation(chat)["title"] == "Rainbows"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("rainbow", ["b"]),
        ("RAINB", ["b"]),
        ("bow after", ["b"]),
        ("zeppelin", []),
        ("虹の話", ["c"]),
        ("of", ["a"]),
        ("50%", ["c"]),
        ("5_%", []),
        ('"', []),
        ("title a", ["a"]),
        ('NEAR( OR "" AND *', []),
        ("a'; DROP TABLE texts; --", []),
        ("rain\0 bow", ["b"]),
        ("\0", ["a", "b", "c"]),
    ],
)
def test_search(store: Store, query: str, found: list[str]) -> None:
    texts = {"a": "a story of a fox", "b": "after rain a rainbow", "c": "昨日の虹の話 and 50% more"}
    for name, text in texts.items():
        chat = store.create(title=f"title {name}")
        store.add(chat, None, "user", text)
    rows = store.conversations(query)
    assert sorted(row["title"].removeprefix("title ") for row in rows) == found
    said = query.strip("\0")
    assert [row.get("excerpt", "") != "" for row in rows] == [bool(said) and said != "title a" for _ in rows]


def test_what_is_deleted_is_gone_from_the_file(store: Store) -> None:
    chat = store.create()
    question = store.add(chat, None, "user", "the password is Schwertlilie")
    store.add(chat, question["id"], "assistant", "I shall keep Schwertlilie to myself")
    store.delete(chat)
    assert store.conversations("Schwertlilie") == []
    for path in store.path.parent.glob(store.path.name + "*"):
        for spelling in (b"Schwertlilie", b"schwertlilie"):
            assert spelling not in path.read_bytes(), path
    with pytest.raises(NotThereError):
        store.conversation(chat)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_nobody_else_may_read_it(store: Store) -> None:
    store.create()
    for path in store.path.parent.glob(store.path.name + "*"):
        assert os.stat(path).st_mode & 0o077 == 0, path


def test_a_message_of_another_conversation_is_no_parent(store: Store) -> None:
    one, two = store.create(), store.create()
    message = store.add(one, None, "user", "hello")
    with pytest.raises(NotThereError):
        store.add(two, message["id"], "assistant", "no")
    with pytest.raises(NotThereError):
        store.change(two, leaf=message["id"])
    assert store.conversation(two)["messages"] == []


def test_a_failed_block_leaves_nothing(store: Store) -> None:
    def half() -> None:
        with store.transaction():
            store.create(title="half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert store.conversations() == []


def test_running_answers_of_an_ended_server_are_interrupted(store: Store) -> None:
    chat = store.create()
    question = store.add(chat, None, "user", "q")
    one = store.add(chat, question["id"], "assistant", "half an ans", status="running")
    two = store.add(chat, question["id"], "assistant", "another", status="running")
    store.interrupt({two["id"]})
    assert store.message(one["id"])["status"] == "interrupted"
    assert store.message(two["id"])["status"] == "running"


def test_threads_do_not_disturb_each_other(store: Store) -> None:
    def write(name: str) -> None:
        chat = store.create(title=name)
        for number in range(20):
            store.add(chat, None, "user", f"{name} {number}")

    threads = [threading.Thread(target=write, args=(f"t{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row in store.conversations():
        texts = [message["content"] for message in store.conversation(row["id"])["messages"]]
        assert texts == [f"{row['title']} {number}" for number in range(20)]


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"
    first = Store(path)
    chat = first.create(title="kept", settings={"temperature": 0.5}, system="Be kind.")
    first.close()
    again = Store(path)
    kept = again.conversation(chat)
    assert (kept["title"], kept["settings"], kept["system"]) == ("kept", {"temperature": 0.5}, "Be kind.")
    again.close()


def test_a_full_disk_is_said_and_leaves_what_was(store: Store) -> None:
    chat = store.create(title="before")
    pages = store._rows("PRAGMA page_count")[0][0]
    store._rows(f"PRAGMA max_page_count = {pages + 4}")  # SQLite then says what it says of a full disk
    with pytest.raises(StorageError, match="full"):
        store.add(chat, None, "user", "x" * 1_000_000)
    assert store.conversation(chat)["messages"] == []
    store._rows("PRAGMA max_page_count = 1000000")
    store.add(chat, None, "user", "there is room again")
    assert len(store.conversation(chat)["messages"]) == 1


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"
    path.write_bytes(b"this is no database, it is a poem" * 100)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="not a database") as caught:
        Store(path)
    assert "move the file away" in (caught.value.hint or "")
    assert path.read_bytes() == before


def test_a_file_of_a_later_lilims_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(StorageError, match="format 99"):
        Store(path)
