"""Exports can be imported again; what is no export is refused as a whole."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from lilims.ui.web.errors import RequestError
from lilims.ui.web.exchange import as_json, as_markdown, file_name, import_json, import_markdown
from lilims.ui.web.prompts import branch
from lilims.ui.web.store import Store


@pytest.fixture
def chat(store: Store) -> str:
    """A conversation with two branches, of which the first is shown."""
    chat = store.create(title="Two ways", model="talker", system="Be brief.", settings={"temperature": 0.3})
    one = store.add(chat, None, "user", "First?", attachments=[{"name": "a.txt", "text": "some ``` text"}])
    answer = store.add(chat, one["id"], "assistant", "# Yes\n\nIt is.", reasoning="hm", model="talker")
    store.add(chat, None, "user", "Second?")
    store.change(chat, leaf=answer["id"])
    return chat


def _plain(conversation: dict[str, Any]) -> Any:
    """A conversation without ids and times."""
    order = {message["id"]: index for index, message in enumerate(conversation["messages"])}
    names = ("role", "content", "reasoning", "model", "status", "attachments")
    messages = [
        {name: message[name] for name in names} | {"parent": order.get(message["parent"])}
        for message in conversation["messages"]
    ]
    kept = {name: conversation[name] for name in ("title", "model", "system", "settings")}
    return kept | {"messages": messages, "leaf": order[conversation["leaf"]]}


def test_json_keeps_everything(store: Store, chat: str) -> None:
    text = json.dumps(as_json([store.conversation(chat)]))
    (new,) = import_json(store, json.loads(text))
    assert new != chat
    assert _plain(store.conversation(new)) == _plain(store.conversation(chat))
    assert [row["id"] for row in store.conversations("some")] == []  # attachments are not searched
    assert {row["id"] for row in store.conversations("Second")} == {chat, new}


def test_the_order_of_several_stays(store: Store) -> None:
    for title in ("old", "new"):
        store.add(store.create(title=title), None, "user", "hello")
    value = as_json([store.conversation(row["id"]) for row in store.conversations()])
    for row in store.conversations():
        store.delete(row["id"])
    import_json(store, value)
    assert [row["title"] for row in store.conversations()] == ["new", "old"]


def test_markdown_is_the_branch_that_is_shown(store: Store, chat: str) -> None:
    text = as_markdown(store.conversation(chat))
    assert text.startswith("# Two ways\n") and "## System\n\nBe brief." in text and "Second?" not in text
    assert "````\nsome ``` text\n````" in text  # a fence that the file does not close
    (new,) = import_markdown(store, text)
    kept = store.conversation(new)
    assert (kept["title"], kept["system"]) == ("Two ways", "Be brief.")
    shown = branch(kept["messages"], kept["leaf"])
    assert [message["role"] for message in shown] == ["user", "assistant"]
    assert shown[1]["content"] == "# Yes\n\nIt is."


def _change(value: dict[str, Any], change: str) -> Any:
    first = value["conversations"][0]
    changes: dict[str, Any] = {
        "format": lambda: value.update(format="other/1"),
        "no list": lambda: value.update(conversations={}),
        "role": lambda: first["messages"][0].update(role="system"),
        "role is a list": lambda: first["messages"][0].update(role=["user"]),
        "content is a number": lambda: first["messages"][0].update(content=7),
        "unknown parent": lambda: first["messages"][1].update(parent="nobody"),
        "cycle": lambda: first["messages"][0].update(parent=first["messages"][1]["id"]),
        "id twice": lambda: first["messages"][1].update(id=first["messages"][0]["id"]),
        "settings": lambda: first.update(settings={"temperature": 99}),
        "unknown setting": lambda: first.update(settings={"rm": 1}),
        "long text": lambda: first["messages"][0].update(content="x" * (1 << 20) + "x"),
        "attachments": lambda: first["messages"][0].update(attachments=[7]),
    }
    if change == "attachments":
        first["messages"][0]["attachments"] = "a file"
    else:
        changes[change]()
    return value


@pytest.mark.parametrize(
    "change",
    [
        "format", "no list", "role", "role is a list", "content is a number", "unknown parent", "cycle", "id twice",
        "settings", "unknown setting", "long text", "attachments",
    ],
)  # fmt: skip
def test_a_wrong_import_keeps_nothing(store: Store, chat: str, change: str) -> None:
    good = as_json([store.conversation(chat)])
    wrong = _change(copy.deepcopy(good), change)
    wrong["conversations"] = [*good["conversations"], *wrong["conversations"]] if change != "no list" else {}
    with pytest.raises(RequestError, match="cannot be imported|temperature|control"):
        import_json(store, wrong)
    assert [row["id"] for row in store.conversations()] == [chat]


@pytest.mark.parametrize("leaf", ["nobody", 7, {}, ["a"]], ids=["unknown", "number", "object", "list"])
def test_a_wrong_leaf_is_the_last_message(store: Store, chat: str, leaf: Any) -> None:
    value = as_json([store.conversation(chat)])
    value["conversations"][0]["leaf"] = leaf
    (new,) = import_json(store, value)
    kept = store.conversation(new)
    assert kept["leaf"] == kept["messages"][-1]["id"]


@pytest.mark.parametrize("value", [None, [], "text", {"format": "lilims.conversations/1"}, 7])
def test_other_json_is_refused(store: Store, value: Any) -> None:
    with pytest.raises(RequestError):
        import_json(store, value)


def test_markdown_without_messages_is_refused(store: Store) -> None:
    with pytest.raises(RequestError, match="heading"):
        import_markdown(store, "# A poem\n\nof nothing")
    assert store.conversations() == []


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Two ways", "two-ways.md"),
        ("../../etc/passwd", "etc-passwd.md"),
        ("\r\nX: y", "x-y.md"),
        ("虹", "conversation.md"),
    ],
)
def test_names_of_files(title: str, name: str) -> None:
    assert file_name(title, "md") == name
