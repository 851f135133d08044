"""Clients that leave, that do not read, and that do not write: each on a real socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lilims.runtime import Token
from lilims.ui import Access, serving
from lilims.ui.engine import Job, StalledError
from lilims.ui.engine.work import Work

from .helpers import PATIENCE, Live, live, post, read_all, read_until, stories, wait_for

LONG: dict[str, Any] = {"prompt": "Once upon a time", "max_tokens": 450, "logit_bias": {}}


def endless(server: Live, **more: Any) -> dict[str, Any]:
    """A request that the model does not end by itself before its context is full: its ends are forbidden."""
    return {**LONG, "logit_bias": {str(token): -100 for token in stories().stop_ids}, **more}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_client_that_leaves_frees_its_place_within_a_token(
    shared_home: Path, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    noted: list[int] = []
    cancel = Job.cancel

    def noting(job: Job) -> None:
        noted.append(job.statistics.generated_tokens)
        cancel(job)

    def unhurried(work: Work, *, cancelled: bool = False) -> Token | None:
        time.sleep(0.01)  # the answer does not end by itself while this test is kept waiting
        return step(work, cancelled=cancelled)

    step = Work.step
    monkeypatch.setattr(Work, "step", unhurried)
    monkeypatch.setattr(Job, "cancel", noting)
    with live(parallel=1, ahead=4) as server:
        server.engine.observers.append(seen.append)
        connection = post(server, "/v1/completions", endless(server, stream=stream))
        if stream:
            read_until(connection, b"data: ")
        else:
            wait_for(lambda: server.engine.running == 1)
        connection.close()
        wait_for(lambda: bool(seen))
        assert seen[0].cancelled and seen[0].statistics.finish_reason == "interrupt"
        assert seen[0].statistics.generated_tokens - noted[0] <= 1, "no token but the one it was in"
        wait_for(lambda: server.engine.running == server.engine.waiting == 0)
        answer = read_all(post(server, "/v1/completions", {"prompt": "The cat", "max_tokens": 3}))
        assert answer.startswith(b"HTTP/1.1 200")


def test_a_client_that_leaves_the_queue_is_forgotten(shared_home: Path) -> None:
    with live(parallel=1, ahead=2, queue=2, send_buffer=4096) as server:
        running = post(server, "/v1/completions", endless(server, stream=True), window=4096)
        read_until(running, b"data: ")
        waiting = post(server, "/v1/completions", endless(server, stream=True), window=4096)
        wait_for(lambda: server.engine.waiting == 1)
        waiting.close()
        wait_for(lambda: server.engine.waiting == 0)
        running.close()
        wait_for(lambda: server.engine.running == 0)


def test_beyond_the_queue_is_503(shared_home: Path) -> None:
    with live(parallel=1, queue=1, ahead=2, stall=300, send_buffer=4096) as server:
        open_ones = [post(server, "/v1/completions", endless(server, stream=True), window=4096) for _ in range(2)]
        wait_for(lambda: server.engine.running + server.engine.waiting == 2)
        answer = read_all(post(server, "/v1/completions", LONG))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503") and b"retry-after: " in head
        assert json.loads(body)["error"]["code"] == "server_overloaded"
        for connection in open_ones:
            connection.close()


def test_a_reader_that_stops_pauses_its_answer_alone_and_loses_its_place(shared_home: Path) -> None:
    """Nothing but what the operating system and `ahead` hold is kept for it; others go on meanwhile."""
    ended: list[Any] = []
    with live(parallel=2, ahead=4, stall=1.0, send_buffer=4096) as server:
        server.engine.observers.append(ended.append)
        slow = post(server, "/v1/completions", endless(server, stream=True, logprobs=20), window=4096)
        wait_for(lambda: server.engine.running == 1)
        answer = read_all(post(server, "/v1/completions", {"prompt": "The cat", "max_tokens": 10}))
        assert answer.startswith(b"HTTP/1.1 200")
        wait_for(lambda: len(ended) == 2)
        slow.close()
        other, stalled = sorted(ended, key=lambda job: job.error is not None)
        assert other.statistics.generated_tokens == 10 and isinstance(stalled.error, StalledError)
        assert stalled.statistics.generated_tokens < 450


def test_comments_while_nothing_comes(shared_home: Path) -> None:
    with live(parallel=1, ahead=2, stall=300, keep_alive=0.05, send_buffer=4096) as server:
        first = post(server, "/v1/completions", endless(server, stream=True), window=4096)
        read_until(first, b"data: ")
        second = post(server, "/v1/chat/completions", {
            "messages": [{"role": "user", "content": "x"}], "max_tokens": 2, "stream": True,
        })  # fmt: skip
        assert b"content-type: text/event-stream" in read_until(second, b": keep-alive\n\n")
        read_until(second, b": keep-alive\n\n")  # and again
        first.close()
        assert read_until(second, b"[DONE]")
        second.close()


def test_a_head_that_does_not_come_ends_the_connection(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 1.0)
    with live() as server:
        with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            assert _closed(connection) == b""
        with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            read_until(connection, b'{"status":"ok"}')
            connection.sendall(b"GET /health HT")  # the second request of a connection, too
            assert _closed(connection) == b""


def _closed(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1000)
    except ConnectionResetError:
        return b""


def test_a_reader_that_never_reads_is_cut_off(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "STALL_SECONDS", 0.3)
    with live() as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.settimeout(30)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(request * 100_000)  # never reads: in the end nobody takes these


def test_writing_buys_no_time_for_who_does_not_read(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paused = threading.Event()
    pause = serving.Patient.pause_writing

    def pausing(one: serving.Patient) -> None:
        pause(one)
        paused.set()

    monkeypatch.setattr(serving, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(serving.Patient, "pause_writing", pausing)
    with live(ahead=4, stall=300, send_buffer=4096) as server:
        connection = post(server, "/v1/completions", endless(server, stream=True, logprobs=20), window=4096, last=False)
        assert paused.wait(PATIENCE)

        def cut_off() -> bool:
            time.sleep(0.05)
            try:
                return not connection.send(b"G")  # as if another request began
            except (ConnectionResetError, BrokenPipeError):
                return True

        with connection:
            wait_for(cut_off)
        wait_for(lambda: server.engine.running == 0)


def test_a_body_that_does_not_come(shared_home: Path) -> None:
    with live(access=Access(body_seconds=0.3)) as server, socket.create_connection(("127.0.0.1", server.port)) as one:
        one.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert read_until(one, b"\r\n\r\n").startswith(b"HTTP/1.1 408")


def test_a_body_that_is_cut_off(shared_home: Path) -> None:
    with live() as server:
        with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
            connection.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
        assert read_all(post(server, "/v1/completions", {"prompt": "x", "max_tokens": 1})).startswith(b"HTTP/1.1 200")


def test_large_bodies(shared_home: Path) -> None:
    with live(access=Access(body_bytes=1000)) as server:
        with post(server, "/v1/completions", {"prompt": "x" * 2000}) as connection:
            told = read_until(connection, b"\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 413")
        with socket.create_connection(("127.0.0.1", server.port), 30) as connection:  # without a length
            connection.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" + b"1f4\r\n" + b"x" * 500 + b"\r\n" + b"1f5\r\n" + b"x" * 501
            )
            assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 413")
