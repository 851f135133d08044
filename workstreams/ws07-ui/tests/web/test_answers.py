"""Answers that belong to their conversation: several followers, stop, go on, the end of a server, moderation."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from lilims.ui.web import Web, moderation
from lilims.ui.web.api import _events
from lilims.ui.web.errors import NotAllowedError, RequestError

from .scripted import WORDS, Scripted

Body = Callable[[Web, Scripted], Awaitable[None]]


def run(path: Path, body: Body, *, pace: float = 0.0, band: str | None = "16plus") -> None:
    """Runs a test's body with an open web chat."""

    async def main() -> None:
        engine = Scripted(pace)
        async with Web(engine, engine, path=path / "chats.sqlite3") as web:
            if band:
                web.safety.choose_band(band)
            await asyncio.wait_for(body(web, engine), 60)

    asyncio.run(main())


async def whole(web: Web, id_: str, content: int = 0, reasoning: int = 0) -> tuple[str, dict[str, Any]]:
    """What a follower saw of an answer, and the message as it ended."""
    seen, final = "", {}
    async for part in web.answers.follow(id_, content, reasoning):
        seen += part.get("content", "")
        final = part.get("message", final)
    return seen, final


HELD = "The quick brown fox jumps over "  # what the scripted engine says of a long story before it waits


async def held(web: Web, id_: str) -> None:
    """Waits until an answer has come as far as it goes by itself."""
    seen = ""
    async for part in web.answers.follow(id_):
        seen += part.get("content", "")
        if seen == HELD:
            return
    raise AssertionError(f"it ended with {seen!r}")


def test_all_followers_see_the_same_from_where_they_come(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create(model="talker")
        asked = await web.answers.ask(chat, None, "a long story", [])
        id_ = asked["answer"]["id"]
        assert asked["answer"]["status"] == "running"
        first = asyncio.create_task(whole(web, id_))
        await asyncio.sleep(0.05)
        late, middle = await asyncio.gather(whole(web, id_), whole(web, id_, content=30))
        early = await first
        assert early[0] == late[0] == WORDS * 12 and middle[0] == (WORDS * 12)[30:]
        assert early[1] == late[1] == web.store.message(id_)
        assert early[1]["status"] == "complete" and early[1]["statistics"]["generated_tokens"] > 100
        after = await whole(web, id_)  # long after the end
        assert after == ("", early[1])

    run(tmp_path, body, pace=0.001)


def test_nobody_has_to_follow(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        id_ = (await web.answers.ask(chat, None, "hello", []))["answer"]["id"]
        while web.answers.running:
            await asyncio.sleep(0.01)
        assert web.store.message(id_)["content"] == "Answer 1 to: hello"

    run(tmp_path, body)


def test_what_there_is_of_an_answer_is_in_the_store_while_it_grows(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        id_ = (await web.answers.ask(chat, None, "a long story", []))["answer"]["id"]
        kept = ""
        while not kept:
            await asyncio.sleep(0.05)
            kept = web.store.message(id_)["content"]
        assert web.answers.running == {id_} and (WORDS * 12).startswith(kept) and kept != WORDS * 12
        web.answers.stop(id_)
        await whole(web, id_)

    run(tmp_path, body, pace=0.02)


def test_stop_keeps_what_there_is(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        id_ = (await web.answers.ask(chat, None, "hold a long story", []))["answer"]["id"]
        await held(web, id_)
        assert web.answers.stop(id_)
        _, final = await whole(web, id_)
        assert final["status"] == "stopped" and final["content"] == HELD
        assert web.answers.stop(id_) is False

    run(tmp_path, body)


def test_stop_ends_what_nobody_writes(tmp_path: Path) -> None:
    """The server that wrote it was killed, and another one on the same home was there all the time."""

    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        question = web.store.add(chat, None, "user", "hello")["id"]
        left = web.store.add(chat, question, "assistant", "Answer", status="running")["id"]
        assert web.answers.stop(left) and web.store.message(left)["status"] == "interrupted"
        assert web.answers.stop(left) is False and web.answers.stop("nothing") is False

    run(tmp_path, body)


def test_stop_before_the_first_step(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        id_ = (await web.answers.ask(chat, None, "hold a long story", []))["answer"]["id"]
        assert web.answers.stop(id_)
        assert (await whole(web, id_))[1]["status"] == "stopped"
        assert web.answers.running == set()
        again = await web.answers.ask(chat, None, "hold another", [])  # the conversation is not taken for ever
        ends["id"] = again["answer"]["id"]

    async def after(web: Web, engine: Scripted) -> None:
        assert web.store.message(ends["id"])["status"] == "interrupted", "the server ended before its first step"

    ends: dict[str, str] = {}
    run(tmp_path, body)
    run(tmp_path, after)


def test_an_answer_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        id_ = (await web.answers.ask(chat, None, "hold a long story", []))["answer"]["id"]
        await held(web, id_)
        web.answers.stop(id_)
        before = (await whole(web, id_))[1]["content"]
        engine.gate.set()
        await web.answers.go_on(id_)
        _, final = await whole(web, id_)
        assert engine.asked[-1].so_far == before
        assert final["content"] == before + " … and so it went on." and final["status"] == "complete"
        assert len(web.store.conversation(chat)["messages"]) == 2

    run(tmp_path, body)


def test_the_end_of_the_server_interrupts_and_the_next_one_knows(tmp_path: Path) -> None:
    kept: dict[str, str] = {}

    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        kept["id"] = (await web.answers.ask(chat, None, "hold a long story", []))["answer"]["id"]
        await held(web, kept["id"])

    async def again(web: Web, engine: Scripted) -> None:
        message = web.store.message(kept["id"])
        assert (message["status"], message["content"]) == ("interrupted", HELD)
        engine.gate.set()
        await web.answers.go_on(kept["id"])
        assert (await whole(web, kept["id"]))[1]["status"] == "complete"

    run(tmp_path, body)
    run(tmp_path, again)


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from lilims.ui.web import Web
from web.scripted import Scripted

async def main():
    engine = Scripted(0.02)
    async with Web(engine, engine, path=Path(sys.argv[2]) / "chats.sqlite3") as web:
        web.safety.choose_band("16plus")
        answer = (await web.answers.ask(web.store.create(), None, "a long story", []))["answer"]
        while len(web.store.message(answer["id"])["content"]) < 20:
            await asyncio.sleep(0.05)
        print(answer["id"], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_a_killed_server_leaves_what_there_was(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", _KILLED, str(Path(__file__).parents[1]), str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert found.returncode == -9, found.stderr
    id_ = found.stdout.strip()

    async def body(web: Web, engine: Scripted) -> None:
        message = web.store.message(id_)
        assert message["status"] == "interrupted" and len(message["content"]) >= 20
        await web.answers.go_on(id_)
        assert (await whole(web, id_))[1]["content"] == message["content"] + " … and so it went on."

    run(tmp_path, body)


def test_a_follower_of_a_deleted_answer_is_told(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        id_ = (await web.answers.ask(chat, None, "hold a long story", []))["answer"]["id"]
        events = asyncio.create_task(_collected(_events(web.answers.follow(id_))))
        await asyncio.sleep(0.1)
        web.store.delete(chat)
        web.answers.stop(id_)
        assert (await events)[-1] == 'event: done\ndata: {"message": null}\n\n'

    run(tmp_path, body)


async def _collected(events: AsyncIterator[str]) -> list[str]:
    return [event async for event in events]


def test_two_answers_of_one_conversation_do_not_run_at_once(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat, other = web.store.create(), web.store.create()
        one, two = await asyncio.gather(
            web.answers.ask(chat, None, "hold one", []), web.answers.ask(chat, None, "two", []), return_exceptions=True
        )
        assert isinstance(one, dict) and isinstance(two, RequestError)
        assert [message["role"] for message in web.store.conversation(chat)["messages"]] == ["user", "assistant"]
        await web.answers.ask(other, None, "another", [])  # another conversation's may
        web.answers.stop(one["answer"]["id"])
        await whole(web, one["answer"]["id"])
        await web.answers.ask(chat, None, "three", [])

    run(tmp_path, body)


def test_a_failure_stands_in_the_answer(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        asked = await web.answers.ask(chat, None, "overflow", [])
        _, final = await whole(web, asked["answer"]["id"])
        assert final["status"] == "failed" and "9000 tokens" in final["error"] and "begin a new chat" in final["error"]
        again = await web.answers.answer(chat, asked["question"]["id"])
        assert again["parent"] == asked["question"]["id"]

    run(tmp_path, body)


def test_a_conversation_that_is_deleted_while_it_is_answered(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        asked = await web.answers.ask(chat, None, "hold a long story", [])
        await held(web, asked["answer"]["id"])
        await web.answers.stop_all(chat)
        web.store.delete(chat)
        assert web.answers.running == set() and web.store.conversations() == []

    run(tmp_path, body)


def test_reasoning_is_kept_apart(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        id_ = (await web.answers.ask(chat, None, "think", []))["answer"]["id"]
        _, final = await whole(web, id_)
        assert final["reasoning"] == "First I consider it. Then I decide." and final["content"] == "Answer 1 to: think"

    run(tmp_path, body)


def test_the_model_gets_the_branch_and_nothing_of_the_others(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create(system="Be brief.", settings={"temperature": 0.1})
        first = await web.answers.ask(chat, None, "one", [{"name": "a.txt", "text": "file"}])
        await whole(web, first["answer"]["id"])
        await whole(web, (await web.answers.ask(chat, None, "edited", []))["answer"]["id"])
        await whole(web, (await web.answers.ask(chat, first["answer"]["id"], "two", []))["answer"]["id"])
        asked = engine.asked[-1]
        assert [message["content"] for message in asked.path] == ["one", "Answer 1 to: one", "two"]
        assert (asked.system, asked.settings) == ("Be brief.", {"temperature": 0.1})

    run(tmp_path, body)


@pytest.mark.parametrize("band", [None, "under16"])
def test_the_age_gate_refuses_every_way_to_generate(tmp_path: Path, band: str | None) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create()
        question = web.store.add(chat, None, "user", "before")
        half = web.store.add(chat, question["id"], "assistant", "half", status="stopped")
        for attempt in (
            web.answers.ask(chat, None, "hello", []),
            web.answers.answer(chat, question["id"]),
            web.answers.go_on(half["id"]),
        ):
            with pytest.raises(NotAllowedError) as caught:
                await attempt
            assert caught.value.code == ("under_age" if band else "age_unknown")
        assert engine.asked == [] and len(web.store.conversation(chat)["messages"]) == 2

    run(tmp_path, body, band=band)


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that knows one word: what becomes of what it says is tested here."""
    monkeypatch.setattr(moderation, "_classifier", lambda: lambda texts: [float("idiot" in text) for text in texts])


@pytest.mark.usefixtures("judge")
def test_moderated_under_16(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        web.safety.set_pin("2468")
        web.safety.choose("moderated", "2468")
        chat = web.store.create()
        with pytest.raises(NotAllowedError) as caught:
            await web.answers.ask(chat, None, "you idiot", [])
        assert caught.value.code == "moderated"
        with pytest.raises(NotAllowedError):
            await web.answers.ask(chat, None, "look", [{"name": "a", "text": "an idiot"}])
        assert web.store.conversation(chat)["messages"] == [], "what is held back is not kept"
        asked = await web.answers.ask(chat, None, "be rude", [])
        _, final = await whole(web, asked["answer"]["id"])
        assert (final["status"], final["content"]) == ("moderated", "You are nice.")
        with pytest.raises(RequestError):
            await web.answers.go_on(asked["answer"]["id"])
        kind = await web.answers.ask(chat, None, "hello", [])
        assert (await whole(web, kind["answer"]["id"]))[1]["content"] == "Answer 2 to: hello"

    run(tmp_path, body, band="under16")


@pytest.mark.usefixtures("judge")
def test_what_was_written_before_moderation_counts(tmp_path: Path) -> None:
    async def body(web: Web, engine: Scripted) -> None:
        chat = web.store.create(system="Talk like an idiot.")
        asked = await web.answers.ask(chat, None, "hello", [])
        await whole(web, asked["answer"]["id"])
        web.safety.moderate(True)
        before = len(web.store.conversation(chat)["messages"])
        for attempt in (
            web.answers.answer(chat, asked["question"]["id"]),
            web.answers.ask(chat, asked["answer"]["id"], "and then?", []),
        ):
            with pytest.raises(NotAllowedError):
                await attempt
        assert len(web.store.conversation(chat)["messages"]) == before
        web.safety.moderate(False)
        await web.answers.answer(chat, asked["question"]["id"])

    run(tmp_path, body)


def test_moderation_without_its_package_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "profanity_check", None)
    moderation._classifier.cache_clear()

    async def body(web: Web, engine: Scripted) -> None:
        web.safety.moderate(True)
        with pytest.raises(NotAllowedError) as caught:
            await web.answers.ask(web.store.create(), None, "hello", [])
        assert caught.value.code == "moderation_missing" and engine.asked == []

    run(tmp_path, body)
    moderation._classifier.cache_clear()
