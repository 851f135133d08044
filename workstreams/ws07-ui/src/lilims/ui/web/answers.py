"""Answers that are being written: they belong to their conversation, not to the window that asked.

An answer runs as a task of the server and goes to the store as it comes; any number of windows follow it, from wherever
they left off. Whoever closes the last window does not stop it. Knows tasks, and what the age gate and moderation
let through. Must not know HTTP, nor how tokens are made.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from lilims.core.errors import ContextOverflowError, LilimsError

from . import moderation
from .errors import NotAllowedError, NotThereError, RequestError
from .moderation import Gate
from .prompts import branch, question
from .safety import Safety
from .store import Store

__all__ = ["Answers", "Asked", "Job", "Piece", "Submit"]

_SAVE_EVERY = 0.5  # seconds between two writes of a growing answer
_TOO_LONG = "begin a new chat, or make an earlier message shorter"
_MODERATED = "a sentence was held back by moderation, and the answer ended there"


@dataclass(frozen=True)
class Asked:
    """What a model is asked: a branch of a conversation, and with `so_far` an answer that goes on."""

    model: str | None
    path: list[Any]
    system: str
    settings: dict[str, Any]
    so_far: str = ""


class Piece(Protocol):
    """A token of an answer, as `lilims.runtime.Token`."""

    @property
    def text(self) -> str: ...

    @property
    def reasoning(self) -> str: ...


class Job(Protocol):
    """An answer that is computed."""

    def __aiter__(self) -> AsyncIterator[Piece]: ...

    def cancel(self) -> None:
        """Ends it within a token."""

    def figures(self) -> dict[str, Any]:
        """What it cost so far."""


class Submit(Protocol):
    """Begins to compute an answer."""

    async def __call__(self, asked: Asked) -> Job: ...


@dataclass
class Running:
    """An answer while it is written."""

    id: str
    conversation: str
    content: str = ""
    reasoning: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    job: Job | None = None
    stopped: bool = False
    done: bool = False
    tick: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self) -> None:
        """Wakes all who follow."""
        woken, self.tick = self.tick, asyncio.Event()
        woken.set()


class Answers:
    """All answers of a server that are being written."""

    def __init__(self, store: Store, safety: Safety, submit: Submit) -> None:
        self._store = store
        self._safety = safety
        self._submit = submit
        self._running: dict[str, Running] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._claimed: set[str] = set()  # conversations whose answer is about to begin

    @property
    def running(self) -> set[str]:
        """Ids of the answers that are being written."""
        return set(self._running)

    async def ask(self, conversation: str, parent: str | None, content: str, attachments: list[Any]) -> dict[str, Any]:
        """Adds a question below `parent` and begins its answer.

        Raises:
            NotAllowedError: the age gate, or moderation, refuses.
            RequestError: an answer of the conversation is being written.
        """
        with self._claim(conversation):
            await self._admit(conversation, parent, {"content": content, "attachments": attachments})
            asked = self._store.add(conversation, parent, "user", content, attachments=attachments)
            answer = self._begin(conversation, asked["id"])
        return {"question": asked, "answer": answer}

    async def answer(self, conversation: str, question_id: str) -> dict[str, Any]:
        """Begins another answer to a question that is there. Raises as `ask`."""
        with self._claim(conversation):
            await self._admit(conversation, question_id)
            return self._begin(conversation, question_id)

    async def go_on(self, id_: str) -> dict[str, Any]:
        """Goes on with an answer that was stopped, cut off or interrupted. Raises as `ask`."""
        message = self._store.message(id_)
        if message["role"] != "assistant" or message["status"] == "moderated":
            raise RequestError("only an answer can go on, and none that moderation ended")
        with self._claim(message["conversation"]):
            await self._admit(message["conversation"], message["parent"], message)
            return self._begin(message["conversation"], message["parent"], message)

    @contextlib.contextmanager
    def _claim(self, conversation: str) -> Any:
        busy = {running.conversation for running in self._running.values()} | self._claimed
        if conversation in busy:
            raise RequestError("an answer of this conversation is being written", hint="wait for it, or stop it")
        self._claimed.add(conversation)
        try:
            yield
        finally:
            self._claimed.discard(conversation)

    async def _admit(self, conversation: str, parent: str | None, *more: dict[str, Any]) -> None:
        """The age gate, and moderation of all that the model would read: what was written before it was on, too."""
        self._safety.check()
        if not self._safety.moderated:
            return
        kept = self._store.conversation(conversation)
        path = branch(kept["messages"], parent)
        whole = "\n".join([kept["system"], *(question(text) for text in (*path, *more))])
        if await asyncio.to_thread(moderation.flagged, whole):
            raise NotAllowedError(
                "moderation holds this back",
                code="moderated",
                hint="say it in other words, or begin a new chat; nothing was kept of it",
            )

    def _begin(self, conversation: str, parent: str | None, old: dict[str, Any] | None = None) -> dict[str, Any]:
        kept = self._store.conversation(conversation)
        path = branch(kept["messages"], parent)
        so_far = old["content"] if old else ""
        asked = Asked(kept["model"], list(path), kept["system"], kept["settings"], so_far)
        if old:
            thoughts = old["reasoning"] if so_far else ""  # without an answer behind them, they begin again
            self._store.write(old["id"], status="running", error=None, reasoning=thoughts)
            self._store.change(conversation, leaf=old["id"])
            message = self._store.message(old["id"])
        else:
            message = self._store.add(conversation, parent, "assistant", model=kept["model"], status="running")
        running = Running(message["id"], conversation, message["content"], message["reasoning"])
        self._running[running.id] = running
        self._tasks[running.id] = asyncio.create_task(self._write(running, asked))
        return message

    async def _write(self, running: Running, asked: Asked) -> None:
        """Has an answer computed, and takes its tokens to their end, whatever that is."""
        status, error = "complete", None
        try:
            running.job = await self._submit(asked)  # it may take seconds to load the model
            passed = await self._take(running, running.job)
            if not passed:
                status, error = "moderated", _MODERATED
            elif running.stopped:
                status = "stopped"
        except asyncio.CancelledError:  # stopped before it began, or the server ends
            status = "stopped" if running.stopped else "interrupted"
            if running.job is not None:
                running.job.cancel()
        except LilimsError as failure:
            hint = _TOO_LONG if isinstance(failure, ContextOverflowError) else failure.hint
            status, error = "failed", f"{failure}" + (f" ({hint})" if hint else "")
        except Exception as failure:
            logging.getLogger("lilims.ui").exception("an answer failed")
            status, error = "failed", f"{type(failure).__name__}: {failure}"
        running.figures = running.job.figures() if running.job is not None else {}
        try:
            self._save(running, status=status, error=error)
        except LilimsError:  # deleted meanwhile, or a full disk: the windows are told, and ask for what is there
            logging.getLogger("lilims.ui").warning("an answer could not be kept", exc_info=True)
        finally:
            running.done = True
            del self._running[running.id], self._tasks[running.id]
            running.changed()

    async def _take(self, running: Running, job: Job) -> bool:
        """Takes tokens; False if moderation ended it."""
        gates = (Gate(), Gate()) if self._safety.moderated else None
        saved = time.monotonic()
        async for piece in job:
            text, thought = piece.text, piece.reasoning
            if gates:
                text, thought = await asyncio.to_thread(_through, gates, text, thought)
            running.content += text
            running.reasoning += thought
            if gates and (gates[0].closed or gates[1].closed):
                job.cancel()
                return False
            if text or thought:
                running.figures = job.figures()
                running.changed()
            if time.monotonic() - saved > _SAVE_EVERY:
                await asyncio.to_thread(self._save, running)
                saved = time.monotonic()
        if gates:
            text, thought = await asyncio.to_thread(_through, gates, "", "", last=True)
            running.content += text
            running.reasoning += thought
            return not (gates[0].closed or gates[1].closed)
        return True

    def _save(self, running: Running, **values: Any) -> None:
        figures = running.figures or None
        self._store.write(
            running.id, content=running.content, reasoning=running.reasoning, statistics=figures, **values
        )

    def stop(self, id_: str) -> bool:
        """Ends an answer within a token; False if it is not being written."""
        running = self._running.get(id_)
        if running is None:
            return self._gave_up(id_)
        running.stopped = True
        if running.job is not None:
            running.job.cancel()
        else:  # in a moment: a task that is cancelled before its first step never runs, and would never end its answer
            asyncio.get_running_loop().call_soon(self._tasks[id_].cancel)
        return True

    def _gave_up(self, id_: str) -> bool:
        """Marks an answer as interrupted whose server was killed while another one, on the same home, went on."""
        try:
            if self._store.message(id_)["status"] != "running":
                return False
            self._store.write(id_, status="interrupted")
        except NotThereError:
            return False
        return True

    async def stop_all(self, conversation: str) -> None:
        """Ends a conversation's answers and waits for their end."""
        tasks = [self._tasks[id_] for id_, found in self._running.items() if found.conversation == conversation]
        for id_ in list(self._running):
            if self._running[id_].conversation == conversation:
                self.stop(id_)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def follow(self, id_: str, content: int = 0, reasoning: int = 0) -> AsyncIterator[dict[str, Any]]:
        """What an answer gains: parts of it from an offset on (in characters), then the message as it ended.

        A follower that is slow gets longer parts, not a longer queue.
        """
        running = self._running.get(id_)
        while running is not None:
            tick, done = running.tick, running.done
            more, thoughts = running.content[content:], running.reasoning[reasoning:]
            content, reasoning = len(running.content), len(running.reasoning)
            if more or thoughts:
                offset = f"{content}.{reasoning}"
                yield {"offset": offset, "content": more, "reasoning": thoughts, "statistics": running.figures}
            if done:
                break
            await tick.wait()
        yield {"message": await asyncio.to_thread(self._store.message, id_)}

    async def close(self) -> None:
        """Ends all answers; what there is of them is kept, as interrupted."""
        await asyncio.sleep(0)  # what has just begun takes its first step, as in `stop`
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _through(gates: tuple[Gate, Gate], text: str, thought: str, *, last: bool = False) -> tuple[str, str]:
    return gates[0].feed(text, last=last), gates[1].feed(thought, last=last)
