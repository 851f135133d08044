"""Chromium, headless, with nothing of a user's; a page that fails the test on any error, and on any request elsewhere.

Debian's Chromium (`apt-get install chromium`), or what LILIMS_CHROMIUM names. Without one the tests fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lilims.ui.web import Web

from ..scripted import Scripted
from ..serving import scripted_chat
from .tools import expect

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT = 60_000  # milliseconds; a bound against hangs, also where much else runs


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The browser of all tests."""
    path = os.environ.get("LILIMS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "there is no Chromium: apt-get install chromium, or LILIMS_CHROMIUM=/path/to/it"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        expect.set_options(timeout=TIMEOUT)
        opened = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@dataclass
class Chat:
    """A web chat with the scripted engine, and a window on it."""

    address: str
    engine: Scripted
    web: Web
    page: Any
    open: Callable[..., Any]
    problems: list[str] = field(default_factory=list)

    def ask(self, text: str) -> None:
        """Writes a question and sends it."""
        self.page.fill("#question", text)
        self.page.press("#question", "Enter")

    def done(self, text: str) -> None:
        """Waits until the last answer has ended and has this text in it."""
        last = self.page.locator(".message.assistant").last
        expect(last).to_contain_text(text)
        expect(last).to_have_attribute("aria-busy", "false")


@pytest.fixture
def chat(browser: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Chat]:
    """A chat whose age gate is open; with the marker's argument `fresh=True` nobody has said anything yet."""
    marker = request.node.get_closest_marker("chat")
    options = dict(marker.kwargs) if marker else {}
    fresh, pace = options.pop("fresh", False), options.pop("pace", 0.0)
    problems: list[str] = []
    expected: tuple[str, ...] = options.pop("expected", ())
    contexts: list[Any] = []
    with scripted_chat(tmp_path / "chats.sqlite3", pace=pace) as (address, engine, web):
        if not fresh:
            web.safety.choose_band("16plus")

        def window(path: str = "/", **settings: Any) -> Any:
            context = browser.new_context(**({"viewport": {"width": 1280, "height": 820}} | options | settings))
            context.set_default_timeout(TIMEOUT)
            contexts.append(context)
            page = context.new_page()
            page.on("pageerror", lambda error: problems.append(f"error: {error}"))
            page.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
            page.on(
                "request",
                lambda sent: (
                    None if sent.url.startswith((address, "data:")) else problems.append(f"asked elsewhere: {sent.url}")
                ),
            )
            page.goto(address + path)
            page.wait_for_selector("html[data-ready], dialog.wizard[open]")
            return page

        opened = Chat(address, engine, web, window(), window, problems)
        try:
            yield opened
        finally:
            engine.gate.set()
            for context in contexts:
                context.close()
    found = [line for line in problems if not any(words in line for words in expected)]
    assert found == []
