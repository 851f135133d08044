"""The web chat inside the whole application, with the engine and the built-in model: nothing is scripted here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from lilims.core.settings import settings
from lilims.ui import Access, Engine, create_app

from .serving import serving
from .test_api import events

BEGINNING = "Once upon a time there was a small fox."


@pytest.fixture
def own_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home with the built-in model, and conversations of the test's own."""
    own = tmp_path / "home"
    own.mkdir()
    (own / "models").symlink_to(home / "models", target_is_directory=True)
    monkeypatch.setenv("LILIMS_HOME", str(own))
    settings.cache_clear()
    return own


@pytest.fixture
def client(own_home: Path) -> Iterator[httpx.Client]:
    with serving(create_app(Engine())) as address, httpx.Client(base_url=address, timeout=120) as client:
        yield client


def _ask(client: httpx.Client, chat: str, content: str, parent: str | None = None) -> dict[str, object]:
    asked = client.post(f"/web/api/conversations/{chat}/messages", json={"content": content, "parent": parent})
    assert asked.status_code == 201, asked.text
    message: dict[str, object] = events(client.get(f"/web/api/messages/{asked.json()['answer']['id']}/events"))[-1][2][
        "message"
    ]
    return message


def test_a_story_goes_on_and_on(client: httpx.Client, own_home: Path) -> None:
    state = client.get("/web/api/state").json()
    assert state["default_model"] == "stories" and state["safety"]["band"] is None
    chat = client.post("/web/api/conversations", json={"settings": {"temperature": 0, "max_tokens": 12}}).json()["id"]
    refused = client.post(f"/web/api/conversations/{chat}/messages", json={"content": BEGINNING})
    assert refused.status_code == 403
    client.put("/web/api/safety", json={"band": "16plus"})
    first = _ask(client, chat, BEGINNING)
    figures = first["statistics"]
    assert isinstance(figures, dict)
    assert (first["status"], figures["finish_reason"], figures["generated_tokens"]) == ("complete", "length", 12)
    assert figures["tokens_per_second"] > 0 and figures["time_to_first_token"] > 0
    client.post(f"/web/api/messages/{first['id']}/continue", json={})
    longer = events(client.get(f"/web/api/messages/{first['id']}/events"))[-1][2]["message"]
    client.patch(f"/web/api/conversations/{chat}", json={"settings": {"temperature": 0, "max_tokens": 24}})
    whole = _ask(client, chat, BEGINNING)
    assert longer["content"] == whole["content"], "continued, it is the text that it would have been"
    assert longer["statistics"]["reused_tokens"] > 12, "what the cache holds is not run again"
    assert (own_home / "conversations.sqlite3").stat().st_mode & 0o077 == 0


def test_stop_ends_the_generation(client: httpx.Client) -> None:
    client.put("/web/api/safety", json={"band": "16plus"})
    chat = client.post("/web/api/conversations", json={}).json()["id"]
    answer = client.post(f"/web/api/conversations/{chat}/messages", json={"content": BEGINNING}).json()["answer"]
    deadline = time.monotonic() + 60
    while client.get(f"/web/api/conversations/{chat}").json()["messages"][1]["status"] == "running":
        client.post(f"/web/api/messages/{answer['id']}/stop", json={})
        assert time.monotonic() < deadline
    status = client.get(f"/web/api/conversations/{chat}").json()["messages"][1]["status"]
    assert status in ("stopped", "complete")  # a quick machine may be first


def test_the_guards_of_the_server_hold_for_the_page(own_home: Path) -> None:
    app = create_app(Engine(), Access(api_key="the-key"))
    with serving(app) as address, httpx.Client(base_url=address, timeout=60) as client:
        page = client.get("/")
        assert page.status_code == 200 and "trusted-types dompurify" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff" and page.headers["cache-control"] == "no-cache"
        assert client.get("/web/js/main.js").status_code == 200
        assert client.get("/web/api/state").status_code == 401
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
        opened = client.post("/web/api/session", json={"key": "the-key"})
        assert opened.status_code == 200, opened.text
        assert client.get("/web/api/state").status_code == 200
        assert client.get("/v1/models").status_code == 401, "the cookie is the page's alone"
