"""Load on a server of its own: many clients at once, every answer compared with what the runtime gives by itself.

    python workstreams/ws07-ui/tests/load.py --clients 64 --requests 2000 --kill

Starts `lilims serve` on a free port of this machine, and with --kill ends it with SIGKILL in the middle and starts it
again: clients then ask again what they got no whole answer for. Prints figures; exits 1 if an answer was lost or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

PLACES = ("forest", "garden", "village", "harbour", "mountain", "library", "kitchen", "meadow")
WHO = ("fox", "owl", "girl", "boy", "dog", "bear", "mouse", "king")
SYSTEM = "You tell stories to small children. They are kind, short, and end well. "
PATIENCE = 120.0


@dataclass(frozen=True)
class Task:
    """A request, and the text that has to come."""

    path: str
    body: dict[str, Any]
    expected: str


@dataclass
class Figures:
    """What came of it."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    left: int = 0
    asked_again: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)


def tasks(count: int, *, distinct: int = 48, seed: int = 1) -> list[Task]:
    """Requests of all kinds, with their answers: streamed or not, chats or texts, seeded or greedy, long and short."""
    from lilims.runtime import load

    model, rng = load("stories", threads=1), random.Random(seed)
    made = []
    for n in range(distinct):
        text = f"Once upon a time there was a {WHO[n % 8]} in a {PLACES[n // 8 % 8]}."
        sampling: dict[str, Any] = {"temperature": 0.0} if n % 3 == 0 else {"temperature": 1.0, "seed": n}
        asked = {"model": "stories", "max_tokens": rng.choice((3, 8, 16, 40)), **sampling}
        if n % 2:
            messages = [{"role": "system", "content": SYSTEM * 3}, {"role": "user", "content": text}]
            expected = model.generate(messages, max_tokens=asked["max_tokens"], **sampling).text()
            made.append(Task("/v1/chat/completions", {**asked, "messages": messages}, expected))
        else:
            expected = model.generate(text, max_tokens=asked["max_tokens"], **sampling).text()
            made.append(Task("/v1/completions", {**asked, "prompt": text}, expected))
    return [made[rng.randrange(distinct)] for _ in range(count)]


class Server:
    """`lilims serve` as a process."""

    def __init__(self, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        run = "from lilims.core.cli import main; main()"
        command = [sys.executable, "-c", run, "serve", "--no-web", "--port", str(self.port), "-q", *self._options]
        self._process = subprocess.Popen(command)
        end = time.monotonic() + PATIENCE
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False) as client:
            while time.monotonic() < end:
                try:
                    if (await client.get("/health")).status_code == 200:
                        return
                except httpx2.HTTPError:
                    await asyncio.sleep(0.1)
        raise RuntimeError("the server did not start")

    def kill(self) -> None:
        """As `kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """As Ctrl-C does; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(PATIENCE)


async def load(server: Server, work: list[Task], clients: int, *, kill: bool = False, leave: float = 0.03) -> Figures:
    """Has `clients` do the work side by side. A share of `leave` streams is left in the middle, and not asked again."""
    figures, queue, rng = Figures(), list(enumerate(work)), random.Random(2)
    leaving = {n for n in range(len(work)) if rng.random() < leave}

    async def client() -> None:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=PATIENCE) as session:
            while queue:
                n, task = queue.pop()
                while not await _once(session, n, task, n in leaving, figures):
                    await asyncio.sleep(0.2)

    async def killer() -> None:
        while len(queue) > len(work) // 2:
            await asyncio.sleep(0.05)
        server.kill()
        await server.start()

    watching = asyncio.create_task(_watch(server, figures))
    await asyncio.gather(*(client() for _ in range(clients)), *([killer()] if kill else []))
    watching.cancel()
    return figures


async def _once(session: httpx2.AsyncClient, n: int, task: Task, leave: bool, figures: Figures) -> bool:
    """Asks once; False where it has to be asked again."""
    began = time.perf_counter()
    try:
        if leave or n % 2:
            text = await _stream(session, task, leave, figures, began)
        else:
            text = await _whole(session, task)
    except httpx2.HTTPError as error:
        figures.asked_again[type(error).__name__] += 1
        return False
    if text is None:
        figures.asked_again["503"] += 1
        return False
    if leave:
        figures.left += 1
    elif text == task.expected:
        figures.right += 1
        figures.tokens += task.body["max_tokens"]
    else:
        figures.wrong.append(f"{task.body}: {text!r} is not {task.expected!r}")
    figures.seconds.append(time.perf_counter() - began)
    return True


async def _whole(session: httpx2.AsyncClient, task: Task) -> str | None:
    answer = await session.post(task.path, json=task.body)
    if answer.status_code == 503:
        return None
    choice = answer.raise_for_status().json()["choices"][0]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


async def _stream(session: httpx2.AsyncClient, task: Task, leave: bool, figures: Figures, began: float) -> str | None:
    text, ended = "", False
    async with session.stream("POST", task.path, json={**task.body, "stream": True}) as answer:
        if answer.status_code == 503:
            return None
        async for line in answer.raise_for_status().aiter_lines():
            if line == "data: [DONE]":
                ended = True
            elif line.startswith("data: "):
                choice = json.loads(line[6:])["choices"][0]
                new = choice["text"] if "text" in choice else choice["delta"].get("content") or ""
                if new and not text:
                    figures.first.append(time.perf_counter() - began)
                text += new
                if leave and text:
                    return text
    if not ended:
        raise httpx2.RemoteProtocolError("the stream ended without [DONE]")
    return text


async def _watch(server: Server, figures: Figures) -> None:
    """The server's memory, twice a second, as it says itself."""
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=PATIENCE) as client:
        while True:
            try:
                text = (await client.get("/metrics")).text
                line = next(line for line in text.splitlines() if line.startswith("process_resident_memory_bytes "))
                figures.memory.append((len(figures.seconds), int(float(line.split()[1]))))
            except (httpx2.HTTPError, StopIteration):  # killed, or no Linux
                pass
            await asyncio.sleep(0.5)


def report(figures: Figures, seconds: float) -> str:
    """The figures in words."""

    def at(values: list[float], share: float) -> str:
        return f"{sorted(values)[min(len(values) - 1, int(share * len(values)))] * 1000:.0f} ms" if values else "-"

    lines = [
        f"{figures.right} right, {len(figures.wrong)} wrong, {figures.left} left in the middle, in {seconds:.0f} s: "
        f"{figures.tokens / seconds:.0f} tokens/s",
        f"whole answer: half within {at(figures.seconds, 0.5)}, 99 % within {at(figures.seconds, 0.99)}; "
        f"first token: {at(figures.first, 0.5)}, {at(figures.first, 0.99)}",
        f"asked again: {dict(figures.asked_again)}",
    ]
    if figures.memory:
        quarter = max(1, len(figures.memory) // 4)
        sizes = [size / 1e6 for _, size in figures.memory]
        early, late = max(sizes[quarter : 2 * quarter] or sizes), max(sizes[-quarter:])
        lines.append(f"memory: {early:.0f} MB in the second quarter, {late:.0f} MB in the last (most of each)")
    return "\n".join(lines)


async def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=64)
    options.add_argument("--requests", type=int, default=2000)
    options.add_argument("--kill", action="store_true")
    chosen = options.parse_args()
    work = tasks(chosen.requests)
    server = Server("--parallel", "16", "--queue", "128")
    await server.start()
    try:
        began = time.perf_counter()
        figures = await load(server, work, chosen.clients, kill=chosen.kill)
        print(report(figures, time.perf_counter() - began))
    finally:
        code = server.stop()
    print(f"the server ended with {code}")
    for line in figures.wrong[:5]:
        print(line)
    return 0 if not figures.wrong and figures.right + figures.left == len(work) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
