"""axe-core in every state of the page that can be reached, in both themes and on a phone: it finds nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Chat
from .tools import axe

pytestmark = pytest.mark.browser
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def _nothing(chat: Chat) -> None:
    pass


def _answered(chat: Chat) -> None:
    chat.ask("Show me code")
    chat.done("Simple things")


def _writing(chat: Chat) -> None:
    chat.ask("hold a long story")
    chat.page.wait_for_selector(".message.assistant .prose p")


def _stopped(chat: Chat) -> None:
    _writing(chat)
    chat.page.get_by_role("button", name="Stop").click()
    chat.done("You stopped")


def _failed(chat: Chat) -> None:
    chat.ask("overflow")
    chat.done("9000 tokens")


def _branches(chat: Chat) -> None:
    _answered(chat)
    chat.page.get_by_role("button", name="Answer again").click()
    chat.done("Simple things")
    chat.page.wait_for_selector(".branches")


def _editing(chat: Chat) -> None:
    _answered(chat)
    chat.page.get_by_role("button", name="Edit").click()


def _thinking(chat: Chat) -> None:
    chat.ask("think")
    chat.done("Answer")
    chat.page.locator("summary").click()


def _menu(chat: Chat) -> None:
    _answered(chat)
    chat.page.get_by_role("button", name="Actions for Show me code").click()


def _renaming(chat: Chat) -> None:
    _menu(chat)
    chat.page.get_by_role("menuitem", name="Rename").click()


def _deleting(chat: Chat) -> None:
    _menu(chat)
    chat.page.get_by_role("menuitem", name="Delete").click()


def _files(chat: Chat) -> None:
    file = {"name": "a.txt", "mimeType": "text/plain", "buffer": b"text"}
    chat.page.set_input_files('input[type="file"]', [file])


def _toast(chat: Chat) -> None:
    file = {"name": "a.bin", "mimeType": "text/plain", "buffer": b"\xff\x00"}
    chat.page.set_input_files('input[type="file"]', [file])
    chat.page.wait_for_selector(".toast")


def _found(chat: Chat) -> None:
    _answered(chat)
    chat.page.get_by_label("Search conversations").fill("doubles")
    chat.page.wait_for_selector(".excerpt")


def _refused(chat: Chat) -> None:
    chat.web.safety.choose_band("under16")
    chat.page.reload()
    chat.page.wait_for_selector("html[data-ready]")


def _under_16(chat: Chat) -> None:
    _refused(chat)
    chat.page.get_by_role("button", name="Settings").click()


def _button(name: str, opens: str = "dialog[open]") -> Callable[[Chat], None]:
    def steps(chat: Chat) -> None:
        chat.page.get_by_role("button", name=name).click()
        chat.page.wait_for_selector(opens)  # some ask the server first

    return steps


def _wizard(*names: str) -> Callable[[Chat], None]:
    def steps(chat: Chat) -> None:
        chat.web.store.keep(age_band=None)
        chat.page.reload()
        for name in names:
            chat.page.get_by_role("button", name=name).click()
        chat.page.wait_for_selector("dialog.wizard h2")

    return steps


STATES: dict[str, Callable[[Chat], None]] = {
    "empty": _nothing,
    "answered": _answered,
    "writing": _writing,
    "stopped": _stopped,
    "failed": _failed,
    "branches": _branches,
    "editing": _editing,
    "thinking": _thinking,
    "menu": _menu,
    "renaming": _renaming,
    "deleting": _deleting,
    "files": _files,
    "toast": _toast,
    "found": _found,
    "refused": _refused,
    "under 16": _under_16,
    "picker": _button("Model: talker", "[role=menu]"),
    "controls": _button("Controls of this chat"),
    "settings": _button("Settings"),
    "models": _button("Models"),
    "keys": _button("Keyboard shortcuts"),
    "wizard age": _wizard(),
    "wizard models": _wizard("16 or older"),
    "wizard guardian": _wizard("Under 16"),
}


def findings(page: Any) -> list[str]:
    """What axe-core finds: the rule, where, why."""
    finite = "document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime !== Infinity)"
    page.evaluate(f"Promise.allSettled({finite}.map((one) => one.finished))")
    results = axe.run(page, options={"runOnly": TAGS}).response
    return [
        f"{rule['id']}: {node['target']}: {' '.join(node['failureSummary'].split())}"
        for rule in results["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(chat: Chat, state: str) -> None:
    STATES[state](chat)
    for theme in ("light", "dark"):
        chat.page.evaluate(f"localStorage.setItem('lilims.theme', '{theme}'); dispatchEvent(new Event('lilims-theme'))")
        assert findings(chat.page) == [], theme


@pytest.mark.chat(viewport={"width": 360, "height": 700}, has_touch=True, is_mobile=True)
@pytest.mark.parametrize("state", ["empty", "answered", "controls", "wizard models"])
def test_axe_finds_nothing_on_a_phone(chat: Chat, state: str) -> None:
    page = chat.page
    if state == "answered":
        page.fill("#question", "Show me code")
        page.get_by_role("button", name="Send").click()
        chat.done("Simple things")
        assert findings(page) == []
        page.get_by_role("button", name="Conversations").click()
        page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")  # it has slid in
    else:
        STATES[state](chat)
    assert findings(page) == []
