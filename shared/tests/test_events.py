"""Listeners hear events while they listen; a failing one disturbs nobody."""

from __future__ import annotations

from lilims.core.events import Event, emit, listening, subscribe


def test_listening_and_not() -> None:
    heard: list[Event] = []
    emit("before")
    with listening(heard.append):
        emit("during", n=1)
    emit("after")
    assert heard == [Event("during", {"n": 1})]


def test_a_listener_that_fails_is_logged_and_forgiven(home: object) -> None:
    heard: list[str] = []

    def fails(_event: Event) -> None:
        raise RuntimeError("no")

    first = subscribe(fails)
    second = subscribe(lambda event: heard.append(event.name))
    emit("x")
    first()
    first()  # ending twice does no harm
    second()
    assert heard == ["x"]
