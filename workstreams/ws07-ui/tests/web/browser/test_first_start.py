"""The first start: age, guardian, models and how they are brought, in Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lilims.core.settings import settings
from lilims.ui.web import moderation

from ..scripted import Scripted
from ..serving import application, serving
from .conftest import Chat
from .tools import expect

pytestmark = [pytest.mark.browser, pytest.mark.chat(fresh=True, expected=("Failed to load resource",))]


@pytest.fixture(autouse=True)
def own_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, without models."""
    own = tmp_path / "home"
    own.mkdir()
    monkeypatch.setenv("LILIMS_HOME", str(own))
    settings.cache_clear()
    return own


def test_the_built_in_model_at_once(chat: Chat) -> None:
    page = chat.page
    dialog = page.get_by_role("dialog", name="Welcome to lilims")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()  # it wants an answer
    page.get_by_role("button", name="16 or older").click()
    page.get_by_role("button", name="Start at once").click()
    expect(page.locator("#question")).to_be_focused()
    chat.ask("Once upon a time")
    chat.done("Answer 1")
    assert chat.engine.asked[0].model == "stories"
    page.reload()
    chat.done("Answer 1")
    expect(page.locator("dialog")).to_have_count(0)


def test_under_16_nothing_is_generated(chat: Chat) -> None:
    page = chat.page
    page.get_by_role("button", name="Under 16").click()
    page.get_by_role("button", name="Keep generation off").click()
    page.fill("#question", "hello")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.press("#question", "Enter")
    status = page.evaluate(
        "async () => { const made = await (await fetch('/web/api/conversations', { method: 'POST', body: '{}',"
        " headers: { 'Content-Type': 'application/json' } })).json();"
        " return (await fetch(`/web/api/conversations/${made.id}/messages`, { method: 'POST',"
        " body: JSON.stringify({ content: 'hello' }), headers: { 'Content-Type': 'application/json' } })).status; }"
    )
    assert status == 403 and chat.engine.asked == [], "the server refuses, too"


def test_a_guardian_allows_moderated_answers(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moderation, "_classifier", lambda: lambda texts: [float("idiot" in text) for text in texts])
    monkeypatch.setattr(moderation, "available", lambda: True)
    page = chat.page
    page.reload()
    page.get_by_role("button", name="Under 16").click()
    page.get_by_label("Guardian’s PIN").fill("2468")
    page.get_by_role("button", name="Allow moderated answers").click()
    page.get_by_role("button", name="Start at once").click()
    chat.ask("hello")
    chat.done("Answer 1 to: hello")
    chat.ask("be rude")
    chat.done("held back by moderation")
    expect(page.locator(".prose").last).to_have_text("You are nice.")
    chat.ask("you idiot")
    expect(page.locator(".toast").last).to_contain_text("moderation holds this back")
    expect(page.locator("#question")).to_have_value("you idiot")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("16 or older").click()
    page.get_by_label("PIN", exact=True).fill("1111")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".toast").last).to_contain_text("the PIN is wrong")
    expect(page.get_by_label("Under 16")).to_be_checked()


def _registry(home: Path, shared: Path) -> None:
    """A registry with one model that is there and one that is not."""
    (home / "offered").mkdir()
    shutil.copytree(shared / "models" / "stories-int4", home / "offered" / "tale")
    lines = [
        "models:", "  tale:", "    - version: 1.0.0", "      source: offered/tale",
        "  ghost:", "    - version: 2.0.0", "      source: offered/ghost",
    ]  # fmt: skip
    (home / "registry.yaml").write_text("\n".join(lines) + "\n", "utf-8")


def test_a_model_of_the_registry_is_brought(chat: Chat, own_home: Path, shared_home: Path) -> None:
    _registry(own_home, shared_home)
    page = chat.page
    page.get_by_role("button", name="16 or older").click()
    expect(page.locator("#room")).to_contain_text("are free on this disk; lilims uses")
    expect(page.locator("#room")).to_contain_text("without a quota; one model may have 1.0 GB")
    card = page.locator('.card[data-source="tale@1.0.0"]')
    expect(card).to_contain_text("this machine · ")
    expect(card).to_contain_text("MB")
    card.get_by_role("button", name="Get").click()
    expect(page.locator("dialog")).to_have_count(0, timeout=60_000)  # it was brought, and is used
    assert (own_home / "models" / "tale@1.0.0" / "manifest.json").is_file()


def test_a_pull_that_fails_says_why(chat: Chat, own_home: Path, shared_home: Path) -> None:
    _registry(own_home, shared_home)
    page = chat.page
    page.get_by_role("button", name="16 or older").click()
    card = page.locator('.card[data-source="ghost@2.0.0"]')
    card.get_by_role("button", name="Size").click()
    expect(card.get_by_role("alert")).to_contain_text("no such", timeout=60_000)
    page.get_by_label("From elsewhere").fill(str(shared_home / "models"))
    page.get_by_role("button", name="Look it up").click()
    expect(page.locator(".card").last.get_by_role("alert")).to_contain_text("a path cannot be pulled", timeout=60_000)
    assert not (own_home / "models").exists()


def test_a_pull_can_be_cancelled(
    chat: Chat, own_home: Path, shared_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that takes its time stands in for a slow server: what is tested is how it is ended."""
    script = own_home / "slow.py"
    script.write_text(
        "import json, sys, time\nsys.stdin.readline()\n"
        'print(json.dumps({"file": "weights", "done": 250, "total": 1000}), flush=True)\ntime.sleep(120)\n'
    )
    from lilims.ui.web import pulls

    monkeypatch.setattr(pulls, "COMMAND", (str(script),))
    _registry(own_home, shared_home)
    page = chat.page
    page.get_by_role("button", name="16 or older").click()
    card = page.locator('.card[data-source="tale@1.0.0"]')
    card.get_by_role("button", name="Get").click()
    expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    expect(card).to_contain_text("250 bytes of 1.0 kB")
    page.reload()  # the pull goes on; the page finds it again
    page.get_by_role("button", name="Models").click()
    expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("Cancelled. What has arrived is kept")
    (pull,) = chat.web.pulls.all()
    assert pull["status"] == "cancelled"


def test_a_server_with_a_key_asks_for_it(chat: Chat, tmp_path: Path) -> None:
    from lilims.ui.security import Access
    from lilims.ui.web import Web

    engine = Scripted()
    web = Web(engine, engine, path=tmp_path / "keyed.sqlite3", default_model="talker", keys=Access(api_key="the-key"))
    with serving(application(web)) as address:
        web.safety.choose_band("16plus")
        page = chat.page.context.new_page()
        page.goto(address)
        for key in ("wrong", "the-key"):
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Open").click()
        page.wait_for_selector("html[data-ready]")
        page.fill("#question", "hello")
        page.press("#question", "Enter")
        expect(page.locator(".message.assistant")).to_contain_text("Answer 1 to: hello")  # the stream has the cookie
        page.close()
    chat.problems[:] = [line for line in chat.problems if not line.startswith("asked elsewhere")]
