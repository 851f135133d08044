"""The page's API over HTTP, as a browser and as an attacker speak it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from lilims.ui.security import Access
from lilims.ui.web import Web

from .scripted import WORDS, Scripted
from .serving import application, scripted_chat, serving


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[tuple[httpx.Client, Scripted, Web]]:
    with (
        scripted_chat(tmp_path / "chats.sqlite3") as (address, engine, web),
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        web.safety.choose_band("16plus")
        yield client, engine, web


def events(response: httpx.Response) -> list[tuple[str, str, dict[str, Any]]]:
    """Server-sent events of an answer: name, id, data."""
    found = []
    for block in response.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines.get("event", ""), lines.get("id", ""), json.loads(lines["data"])))
    return found


def test_a_conversation_from_beginning_to_end(chat: tuple[httpx.Client, Scripted, Web]) -> None:
    client, engine, _ = chat
    made = client.post("/web/api/conversations", json={"model": "talker", "settings": {"temperature": 0.4}})
    assert made.status_code == 201
    id_ = made.json()["id"]
    asked = client.post(f"/web/api/conversations/{id_}/messages", json={"content": "a long story"}).json()
    stream = client.get(f"/web/api/messages/{asked['answer']['id']}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    seen = events(stream)
    assert (WORDS * 12).startswith("".join(data["content"] for name, _, data in seen if name == "part"))
    assert seen[-1][0] == "done" and seen[-1][2]["message"]["status"] == "complete"
    assert seen[-1][2]["message"]["content"] == WORDS * 12
    again = client.post(f"/web/api/conversations/{id_}/answers", json={"parent": asked["question"]["id"]})
    assert again.status_code == 201
    client.get(f"/web/api/messages/{again.json()['answer']['id']}/events")
    kept = client.get(f"/web/api/conversations/{id_}").json()
    assert [message["role"] for message in kept["messages"]] == ["user", "assistant", "assistant"]
    assert kept["leaf"] == again.json()["answer"]["id"] and kept["title"] == "a long story"
    renamed = client.patch(f"/web/api/conversations/{id_}", json={"title": "Foxes", "leaf": asked["answer"]["id"]})
    assert (renamed.json()["title"], renamed.json()["leaf"]) == ("Foxes", asked["answer"]["id"])
    assert [row["title"] for row in client.get("/web/api/conversations?q=dog").json()["conversations"]] == ["Foxes"]
    assert client.delete(f"/web/api/conversations/{id_}", headers=JSON).status_code == 200
    assert client.get(f"/web/api/conversations/{id_}").status_code == 404
    assert engine.asked[0].settings == {"temperature": 0.4}


JSON = {"Content-Type": "application/json"}


def test_a_stream_goes_on_after_the_last_event(chat: tuple[httpx.Client, Scripted, Web]) -> None:
    client, _, _ = chat
    id_ = client.post("/web/api/conversations", json={}).json()["id"]
    asked = client.post(f"/web/api/conversations/{id_}/messages", json={"content": "hold a long story"}).json()
    address = f"/web/api/messages/{asked['answer']['id']}/events"
    with client.stream("GET", address) as stream:
        text = ""
        for chunk in stream.iter_text():
            text += chunk
            if "over " in text:
                break  # the connection is lost
    last = [line[4:] for line in text.splitlines() if line.startswith("id: ")][-1]
    assert last == f"{len('The quick brown fox jumps over ')}.0"
    chat[1].gate.set()
    rest = events(client.get(address, headers={"Last-Event-ID": last}))
    # An answer that ended before this was asked comes whole, in the last event; else only what is new comes before.
    assert (WORDS * 12)[31:].startswith("".join(data["content"] for name, _, data in rest if name == "part"))
    assert rest[-1][0] == "done" and rest[-1][2]["message"]["content"] == WORDS * 12


def test_stop_over_http(chat: tuple[httpx.Client, Scripted, Web]) -> None:
    client, _, _ = chat
    id_ = client.post("/web/api/conversations", json={}).json()["id"]
    answer = client.post(f"/web/api/conversations/{id_}/messages", json={"content": "hold a long story"}).json()[
        "answer"
    ]
    assert client.post(f"/web/api/messages/{answer['id']}/stop", json={}).json() == {"stopped": True}
    final = events(client.get(f"/web/api/messages/{answer['id']}/events"))[-1][2]["message"]
    assert final["status"] == "stopped"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 201),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}, 201),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "application/json", "Host": "localhost", "Origin": "https://localhost"}, 201),
        ({"Content-Type": "application/json", "Host": "localhost", "Origin": "https://localhost:81"}, 403),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 403),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 403),
        ({}, 403),
    ],
    ids=str,
)
def test_only_the_page_itself_may_write(
    chat: tuple[httpx.Client, Scripted, Web], headers: dict[str, str], status: int
) -> None:
    client, _, web = chat
    answer = client.post("/web/api/conversations", content=b'{"title": "x"}', headers=headers)
    assert answer.status_code == status
    assert len(web.store.conversations()) == (status == 201)


def test_other_sites_may_not_read(chat: tuple[httpx.Client, Scripted, Web]) -> None:
    client, _, _ = chat
    answer = client.get("/web/api/conversations", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("/web/api/conversations", {"settings": {"temperature": 3}}, "temperature has to be from 0 to 2"),
        ("/web/api/conversations", {"settings": {"top_k": 1.5}}, "whole number"),
        ("/web/api/conversations", {"settings": {"seed": True}}, "whole number"),
        ("/web/api/conversations", {"settings": {"shell": 1}}, "is no control"),
        ("/web/api/conversations", {"settings": []}, "object"),
        ("/web/api/conversations", {"title": 7}, "title has to be text"),
        ("/web/api/conversations", {"system": "x" * 40_000}, "is the most"),
        ("/web/api/conversations", [], "no JSON object"),
        ("/web/api/conversations/ID/messages", {"content": "   "}, "empty"),
        ("/web/api/conversations/ID/messages", {"content": "x" * 300_000}, "is the most"),
        ("/web/api/conversations/ID/messages", {"content": "a", "attachments": [{}] * 9}, "at most 4 files"),
        ("/web/api/conversations/ID/messages", {"content": "a", "attachments": [{"name": "x"}]}, "a name and a text"),
        ("/web/api/conversations/ID/messages", {"content": "a", "parent": 7}, "a message's id"),
        ("/web/api/import", {"json": {"format": "x"}}, "not an export"),
        ("/web/api/pulls", {"source": " "}, "no model is named"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_requests_are_explained(
    chat: tuple[httpx.Client, Scripted, Web], path: str, value: Any, words: str
) -> None:
    client, engine, web = chat
    id_ = web.store.create()
    answer = client.post(path.replace("ID", id_), json=value)
    assert answer.status_code == 400 and words in answer.json()["error"]["message"]
    assert engine.asked == [] and web.store.conversation(id_)["messages"] == []


@pytest.mark.parametrize(
    "raw",
    [b"{", b'{"title": "\\ud800"}', b"\xff\xfe", b"[" * 100_000, b'{"title": "' + b"x" * (3 << 20)],
    ids=["cut", "half a character", "no UTF-8", "nested", "long"],
)
def test_bodies_that_are_none(chat: tuple[httpx.Client, Scripted, Web], raw: bytes) -> None:
    client, _, _ = chat
    answer = client.post("/web/api/conversations", content=raw, headers=JSON)
    assert answer.status_code == 400 and answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path",
    ["/web/api/conversations/none", "/web/api/messages/none/events", "/web/api/pulls/none", "/web/../store.py",
     "/web/%2e%2e/store.py", "/web/js/../../store.py", "/web//etc/passwd", "/web/js"],
)  # fmt: skip
def test_what_is_not_there(chat: tuple[httpx.Client, Scripted, Web], path: str) -> None:
    assert chat[0].get(path).status_code == 404


def test_the_page_and_its_headers(chat: tuple[httpx.Client, Scripted, Web]) -> None:
    client, _, _ = chat
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert "frame-ancestors 'none'" in policy
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304 and not again.content
    assert client.get("/web/js/main.js").headers["content-type"].startswith("text/javascript")


def test_export_and_import(chat: tuple[httpx.Client, Scripted, Web]) -> None:
    client, _, web = chat
    id_ = web.store.create(title='A "title"\r\nX-Evil: 1')
    web.store.add(id_, None, "user", "grüße")
    markdown = client.get(f"/web/api/conversations/{id_}/export?format=markdown")
    assert markdown.headers["content-disposition"] == 'attachment; filename="a-title-x-evil-1.md"'
    assert "x-evil" not in markdown.headers and "grüße" in markdown.text
    everything = client.get("/web/api/export")
    new = client.post("/web/api/import", json={"json": everything.json()}).json()["conversations"]
    assert web.store.conversation(new[0])["messages"][0]["content"] == "grüße"
    assert client.post("/web/api/import", json={"markdown": markdown.text}).status_code == 201
    assert len(web.store.conversations()) == 3


def test_the_age_gate_over_http(chat: tuple[httpx.Client, Scripted, Web]) -> None:
    client, engine, web = chat
    put = lambda value: client.put("/web/api/safety", json=value)  # noqa: E731
    assert put({"band": "under16"}).json()["allowed"] is False
    id_ = web.store.create()
    refused = client.post(f"/web/api/conversations/{id_}/messages", json={"content": "hello"})
    assert refused.status_code == 403 and refused.json()["error"]["code"] == "under_age" and engine.asked == []
    assert put({"guardian": "moderated"}).json()["error"]["code"] == "pin_needed"
    assert put({"new_pin": "2468", "guardian": "refuse"}).status_code == 403  # a new PIN is not the PIN
    assert put({"guardian": "moderated", "pin": "1111"}).json()["error"]["code"] == "pin_wrong"
    state = put({"guardian": "moderated", "pin": "2468"}).json()
    assert state["allowed"] and state["moderation"] and "hash" not in json.dumps(state)
    assert put({"band": "16plus", "pin": "2468"}).json()["moderation"] is False


def test_state_and_models(chat: tuple[httpx.Client, Scripted, Web]) -> None:
    client, _, _ = chat
    state = client.get("/web/api/state").json()
    talker = next(card for card in state["models"] if card["name"] == "talker")
    assert talker["quality"][0]["perplexity"] == 12.417 and state["ranges"]["temperature"] == ["float", 0, 2]
    found = client.get("/web/api/models").json()
    assert found["offers"] == [] and found["room"]["free"] > 0 and found["room"]["quota"] is None


def test_where_a_key_is_wanted_it_is_shown_once(tmp_path: Path) -> None:
    engine = Scripted()
    web = Web(engine, engine, path=tmp_path / "chats.sqlite3", keys=Access(api_key="secret-key"))
    with serving(application(web)) as address, httpx.Client(base_url=address, timeout=60) as client:
        assert client.get("/").status_code == 200
        refused = client.get("/web/api/state")
        assert refused.status_code == 401 and refused.json()["error"]["code"] == "key_needed"
        assert client.get("/web/api/state", headers={"Authorization": "Bearer secret-key"}).status_code == 200
        assert client.get("/web/api/state", headers={"Authorization": "Bearer secret-kez"}).status_code == 401
        assert client.post("/web/api/session", json={"key": "wrong"}).status_code == 403
        assert client.get("/web/api/state").status_code == 401
        opened = client.post("/web/api/session", json={"key": "secret-key"})
        cookie = opened.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "secret-key" not in cookie
        assert client.get("/web/api/state").status_code == 200
        assert httpx.get(f"{address}/web/api/export").status_code == 401
