"""The web chat as a user uses it, in Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ..scripted import WORDS
from .conftest import Chat
from .tools import expect

pytestmark = pytest.mark.browser
FAILED = "Failed to load resource"  # what Chromium's console says of an answer with an error's status


def test_question_and_answer(chat: Chat) -> None:
    page = chat.page
    chat.ask("Hello there")
    chat.done("Answer 1 to: Hello there")
    expect(page.locator(".message.user .text")).to_have_text("Hello there")
    expect(page.locator(".figures")).to_contain_text("48 tokens/s · first after 42 ms")
    expect(page.locator("#sidebar .title")).to_have_text(["Hello there"])
    expect(page.get_by_role("meter", name="Context used")).to_have_attribute("aria-valuemax", "4096")
    expect(page).to_have_title("Hello there · lilims")
    expect(page.locator("#question")).to_be_focused()


def test_markdown_code_and_copying(chat: Chat) -> None:
    page = chat.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.ask("Show me code")
    chat.done("Simple things")
    expect(page.locator(".prose strong")).to_have_text("doubles")
    expect(page.locator(".prose .hljs-keyword").first).to_have_text("def")
    expect(page.locator(".prose td").nth(1)).to_have_text("4")
    expect(page.locator(".prose td").nth(1)).to_have_css("text-align", "right")
    link = page.get_by_role("link", name="the reference")
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
    page.get_by_role("button", name="Copy").get_by_text("Copy").first.click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("def double(number: int) -> int:\n    ")


def test_an_answer_is_text_and_never_a_page(chat: Chat) -> None:
    page = chat.page
    chat.ask("hostile")
    chat.done("Look:")
    expect(page.locator(".prose")).to_contain_text("<script>")
    assert page.locator(".prose img, .prose script").count() == 0
    assert page.locator('.prose a[href^="javascript"]').count() == 0
    assert "owned" not in page.title()


def test_stop_and_continue(chat: Chat) -> None:
    page = chat.page
    chat.ask("hold a long story")
    expect(page.locator(".message.assistant .prose")).to_contain_text("jumps over")
    page.get_by_role("button", name="Stop").click()
    chat.done("You stopped this answer.")
    chat.engine.gate.set()
    page.get_by_role("button", name="Continue").click()
    chat.done("and so it went on.")
    assert page.locator(".message").count() == 2


def test_regenerate_edit_and_branch(chat: Chat) -> None:
    page = chat.page
    chat.ask("First")
    chat.done("Answer 1")
    page.get_by_role("button", name="Answer again").click()
    chat.done("Answer 2")
    expect(page.locator(".branches")).to_contain_text("2/2")
    page.get_by_role("button", name="Previous version").click()
    chat.done("Answer 1")
    chat.ask("And then?")
    chat.done("Answer 3")
    page.locator(".message.user").first.get_by_role("button", name="Edit").click()
    page.get_by_label("Edit your message").fill("Changed")
    page.get_by_role("button", name="Send as new version").click()
    chat.done("Answer 4 to: Changed")
    assert page.locator(".message").count() == 2
    page.locator(".message.user").get_by_role("button", name="Previous version").click()
    chat.done("Answer 3 to: And then?")
    page.reload()
    chat.done("Answer 3 to: And then?")  # the branch that was shown last
    assert [message["content"] for message in chat.engine.asked[2].path] == ["First", "Answer 1 to: First", "And then?"]


def test_reload_in_mid_answer_and_two_windows(chat: Chat) -> None:
    page = chat.page
    chat.ask("hold a long story")
    expect(page.locator(".message.assistant .prose")).to_contain_text("jumps over")
    page.reload()
    expect(page.locator(".message.assistant")).to_have_attribute("aria-busy", "true")
    expect(page.locator(".message.assistant .prose")).to_contain_text("jumps over")
    other = chat.open("/" + page.url.split("/")[-1])
    expect(other.locator(".message.assistant .prose")).to_contain_text("jumps over")
    chat.engine.gate.set()
    for window in (page, other):
        expect(window.locator(".message.assistant")).to_have_attribute("aria-busy", "false")
        expect(window.locator(".message.assistant .prose")).to_have_text((WORDS * 12).strip())


def test_a_closed_window_does_not_stop_the_answer(chat: Chat) -> None:
    chat.ask("hold a long story")
    expect(chat.page.locator(".message.assistant .prose")).to_contain_text("jumps over")
    address = "/" + chat.page.url.split("/")[-1]
    chat.page.close()
    chat.engine.gate.set()
    page = chat.open(address)
    expect(page.locator(".message.assistant .prose")).to_have_text((WORDS * 12).strip())


def test_an_edit_that_is_not_sent_outlives_a_look_at_another_tab(chat: Chat) -> None:
    page = chat.page
    chat.ask("First")
    chat.done("Answer 1")
    page.locator(".message.user").get_by_role("button", name="Edit").click()
    page.get_by_label("Edit your message").fill("Changed, not sent")
    with page.expect_response(lambda answer: "/web/api/conversations/" in answer.url):  # what coming back asks
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(100)
    expect(page.get_by_label("Edit your message")).to_have_value("Changed, not sent")
    expect(page.get_by_label("Edit your message")).to_be_focused()
    page.get_by_role("button", name="Send as new version").click()
    chat.done("Answer 2 to: Changed, not sent")
    page.locator(".message.user").get_by_role("button", name="Edit").click()
    expect(page.get_by_label("Edit your message")).to_have_value("Changed, not sent")


def test_what_was_loaded_before_a_question_is_not_shown_over_its_answer(chat: Chat) -> None:
    page = chat.page
    chat.ask("first")
    chat.done("Answer 1 to: first")
    held: list[Any] = []

    def hold(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.route("**/web/api/conversations/*", hold)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    while not held:
        page.wait_for_timeout(20)
    chat.ask("second")
    chat.done("Answer 2 to: second")
    route, loaded = held[0]
    route.fulfill(response=loaded)
    page.wait_for_timeout(300)
    chat.done("Answer 2 to: second")


def test_a_full_context_is_said_and_not_continued(chat: Chat) -> None:
    page = chat.page
    chat.ask("cut")
    chat.done("reached its longest length")
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    chat.engine.prompt = 4096
    page.get_by_role("button", name="Answer again").click()
    chat.done("its context is full")
    expect(page.get_by_role("button", name="Continue")).to_have_count(0)


def test_text_that_is_read_from_the_right_stands_there(chat: Chat) -> None:
    chat.ask("\u05e9\u05dc\u05d5\u05dd")
    chat.done("Answer 1")
    for place in (".message.user .text", ".message.assistant .prose p"):
        expect(chat.page.locator(place).first).to_have_css("unicode-bidi", "plaintext")


def test_two_tabs_of_one_browser_tell_each_other(chat: Chat) -> None:
    second = chat.page.context.new_page()
    second.goto(chat.address)
    second.wait_for_selector("html[data-ready]")
    chat.ask("Hello")
    chat.done("Answer 1")
    expect(second.locator("#sidebar .title")).to_have_text(["Hello"])


def test_the_model_is_switched(chat: Chat) -> None:
    page = chat.page
    page.get_by_role("button", name="Model: talker").click()
    menu = page.get_by_role("menu", name="Model")
    expect(menu).to_contain_text("1.2 GB · context 4,096 · 1.2 B parameters · int4, 4.5 bits a weight")
    expect(menu).to_contain_text("perplexity 12.4 on wiki.test · chooses as fp16 in 95.7 % of cases")
    expect(menu.get_by_role("menuitemradio", name="broken")).to_be_disabled()
    menu.get_by_role("menuitemradio", name="stories").click()
    expect(page.locator(".welcome")).to_contain_text("continues stories")
    chat.ask("Once upon a time")
    chat.done("Answer 1")
    page.get_by_role("button", name="Model: stories").click()
    page.get_by_role("menuitemradio", name="talker").click()
    chat.ask("Again")
    chat.done("Answer 2")
    assert [asked.model for asked in chat.engine.asked] == ["stories", "talker"]


def test_controls_reach_the_model(chat: Chat) -> None:
    page = chat.page
    page.get_by_role("button", name="Controls of this chat").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.35")
    page.get_by_label("Longest answer, in tokens").fill("64")
    page.get_by_role("button", name="Close").click()
    chat.ask("Hello")
    chat.done("Answer 1")
    asked = chat.engine.asked[0]
    assert (asked.system, asked.settings) == ("Be brief.", {"temperature": 0.35, "max_tokens": 64})
    page.get_by_role("button", name="Controls of this chat").click()
    page.get_by_label("Temperature").fill("1.2")
    page.get_by_role("button", name="Close").click()
    chat.ask("At once")  # what was just set holds for it
    chat.done("Answer 2")
    assert chat.engine.asked[1].settings == {"temperature": 1.2, "max_tokens": 64}
    page.get_by_role("button", name="Controls of this chat").click()
    page.get_by_label("Temperature").fill("0.1")
    page.get_by_role("button", name="Use the model’s own values").click()
    page.get_by_role("button", name="Close").click()
    chat.ask("By itself")
    chat.done("Answer 3")
    assert chat.engine.asked[2].settings == {}


def test_a_text_file_is_attached(chat: Chat, tmp_path: Path) -> None:
    page = chat.page
    (tmp_path / "notes.txt").write_text("three apples", "utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\x00\xff")
    page.set_input_files('input[type="file"]', [tmp_path / "notes.txt", tmp_path / "picture.png"])
    expect(page.locator(".toast")).to_contain_text("picture.png is not a text file")
    expect(page.locator(".composer .file")).to_have_text(["notes.txt"])
    chat.ask("How many?")
    chat.done("Answer 1")
    assert chat.engine.asked[0].path[0]["attachments"] == [{"name": "notes.txt", "text": "three apples"}]
    expect(page.locator(".message.user .file")).to_contain_text("notes.txt")


def test_search_rename_delete(chat: Chat) -> None:
    page = chat.page
    for text in ("About foxes", "About zebras"):
        page.get_by_role("button", name="New chat").click()
        chat.ask(text)
        chat.done(text)
    page.get_by_label("Search conversations").fill("zebra")
    expect(page.locator("#sidebar .title")).to_have_text(["About zebras"])
    page.get_by_label("Search conversations").fill("")
    expect(page.locator("#sidebar .title")).to_have_text(["About zebras", "About foxes"])
    page.get_by_role("button", name="Actions for About foxes").click()
    page.get_by_role("menuitem", name="Rename").click()
    page.get_by_label("Title").fill("Reynard")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#sidebar .title")).to_have_text(["About zebras", "Reynard"])
    page.get_by_role("button", name="Actions for Reynard").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#sidebar .title")).to_have_text(["About zebras"])


def test_export_and_import(chat: Chat, tmp_path: Path) -> None:
    page = chat.page
    chat.ask("Keep me")
    chat.done("Answer 1")
    page.get_by_role("button", name="Conversation", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Export as Markdown").click()
    text = Path(download.value.path()).read_text("utf-8")
    assert text.startswith("# Keep me") and "## Answer\n\nAnswer 1 to: Keep me" in text
    page.get_by_role("button", name="Settings").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export everything").click()
    path = tmp_path / "export.json"
    path.write_bytes(Path(download.value.path()).read_bytes())
    assert json.loads(path.read_text("utf-8"))["format"] == "lilims.conversations/1"
    page.set_input_files("#import-file", path)
    expect(page.locator("#sidebar .title")).to_have_text(["Keep me", "Keep me"])


@pytest.mark.chat(expected=("status of 400",))
def test_an_import_may_be_larger_than_a_request(chat: Chat) -> None:
    """It goes in parts, and stands in its order; a part that is damaged stops it, and says what came in before."""
    page = chat.page

    def conversation(number: int, role: str = "user") -> dict[str, object]:
        files = [{"name": "long.txt", "text": "é" * 900_000}]
        message = {"id": "a", "parent": None, "role": role, "content": "Read it", "attachments": files}
        return {"title": f"Number {number}", "messages": [message]}

    def offer(conversations: list[dict[str, object]]) -> None:
        data = json.dumps({"format": "lilims.conversations/1", "conversations": conversations}, ensure_ascii=False)
        assert len(data.encode()) > 16 << 20
        page.get_by_role("button", name="Settings").click()
        file = {"name": "all.json", "mimeType": "application/json", "buffer": data.encode()}
        page.set_input_files("#import-file", [file])

    offer([conversation(number) for number in range(10, 0, -1)])  # exports begin with the newest
    expect(page.locator(".toast").last).to_contain_text("Imported 10 conversations")
    expect(page.locator("#sidebar .title")).to_have_text([f"Number {number}" for number in range(10, 0, -1)])
    expect(page.locator("h1")).to_have_text("Number 10")
    offer([conversation(20, "nobody"), *(conversation(number) for number in range(19, 10, -1))])
    expect(page.locator(".toast").last).to_contain_text("or assistant. nothing was kept of it; 7 conversations")
    expect(page.locator("#sidebar .title")).to_have_count(17)


@pytest.mark.chat(expected=(FAILED,))
def test_failures_are_said_and_can_be_tried_again(chat: Chat) -> None:
    page = chat.page
    chat.ask("overflow")
    chat.done("the prompt has 9000 tokens")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.route("**/web/api/conversations/*/messages", lambda route: route.abort())
    chat.ask("lost")
    expect(page.locator(".toast")).to_contain_text("lilims does not answer")
    expect(page.locator("#question")).to_have_value("lost")  # nothing that was written is lost


def test_thoughts_are_folded(chat: Chat) -> None:
    chat.ask("think")
    chat.done("Answer 1")
    details = chat.page.locator("details.thoughts")
    expect(details.locator("div")).to_be_hidden()
    details.locator("summary").click()
    expect(details.locator("div")).to_have_text("First I consider it. Then I decide.")


@pytest.mark.chat(viewport={"width": 360, "height": 700}, has_touch=True, is_mobile=True)
def test_a_narrow_screen(chat: Chat) -> None:
    page = chat.page
    page.fill("#question", "Show me code, a very long line of words without any break at all " + "x" * 80)
    page.get_by_role("button", name="Send").click()
    chat.done("Simple things")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = page.evaluate(
        "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 361"
        " && !e.closest('pre, .table, .hidden')).map((e) => e.className)"
    )
    assert wide == []
    page.get_by_role("button", name="Conversations").click()
    expect(page.get_by_label("Search conversations")).to_be_focused()
    page.locator("#sidebar .item a").click()
    expect(page.get_by_label("Search conversations")).to_be_hidden()


def test_keyboard_alone(chat: Chat) -> None:
    page = chat.page
    page.keyboard.type("hold a long story")
    page.keyboard.press("Enter")
    expect(page.locator(".message.assistant .prose")).to_contain_text("jumps over")
    page.keyboard.press("Escape")
    chat.done("You stopped this answer.")
    chat.engine.gate.set()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.get_by_label("Edit your message")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("By keys")
    page.keyboard.press("Control+Enter")
    chat.done("Answer 2 to: By keys")
    page.keyboard.press("Alt+m")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Model: stories")).to_be_focused()
    page.keyboard.press("Control+k")
    expect(page.get_by_label("Search conversations")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#sidebar .item a")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Alt+n")
    expect(page.locator(".welcome")).to_be_visible()
    expect(page.locator("#question")).to_be_focused()
    page.locator("#thread").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()


def test_every_control_is_reached_with_tab_in_order(chat: Chat) -> None:
    page = chat.page
    chat.ask("Hello")
    chat.done("Answer 1")
    expect(page.get_by_role("button", name="Actions for Hello")).to_be_visible()  # the list is loaded by itself
    page.evaluate("document.querySelector('.skip').focus()")
    seen: list[Any] = ["Skip to the message box"]
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "(() => { const e = document.activeElement; return e === document.body ? null :"
            " e.getAttribute('aria-label') || e.textContent.trim(); })()"
        )
        if name is None:
            break
        seen.append(name)
    order = [
        "Skip to the message box", "lilims", "New chat", "Search conversations", "Hello", "Actions for Hello", "Models",
        "Settings", "Keyboard shortcuts", "Model: talker", "Controls of this chat", "Conversation", "Copy", "Edit",
        "Copy", "Answer again", "Message", "Attach a text file",
    ]  # fmt: skip
    assert seen == order


def test_what_a_reader_of_the_screen_hears(chat: Chat) -> None:
    page = chat.page
    chat.ask("a long story")
    chat.done("lazy dog")
    region = page.get_by_role("status")
    expect(region).to_contain_text("The quick brown fox jumps over the lazy dog")
    assert page.evaluate("document.querySelector('.message.assistant').closest('[aria-live]')") is None


@pytest.mark.chat(reduced_motion="reduce")
def test_motion_is_reduced_on_request(chat: Chat) -> None:
    chat.ask("Hello")
    chat.done("Answer 1")
    moving = chat.page.evaluate("document.getAnimations().length")
    assert moving == 0


def test_the_server_is_gone_and_comes_back(chat: Chat) -> None:
    """A stream that breaks is taken up by itself."""
    page = chat.page
    broken: list[int] = []

    def cut(route: Any) -> None:
        if not broken:
            broken.append(1)
            route.abort()
        else:
            route.continue_()

    chat.problems.clear()
    page.route(re.compile("/events"), cut)
    chat.ask("a long story")
    chat.done((WORDS * 12).strip()[-40:])
    assert broken == [1]
    chat.problems[:] = [line for line in chat.problems if FAILED not in line and "ERR_FAILED" not in line]
