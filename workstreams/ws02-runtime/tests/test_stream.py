"""A generation in its users' hands: iterated, awaited, delivered, interrupted."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from lilims.core.errors import OutOfMemoryError
from lilims.runtime import Model, Statistics, Token
from lilims.runtime.generation.events import NO_TOKEN
from lilims.runtime.generation.pump import AHEAD

from .fakes import CONTEXT, EOS, FakeExecutor, fake_model, mixed, scripted


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return fake_model(tmp_path / "model", FakeExecutor())


def test_awaiting_gives_what_iterating_gives(model: Model) -> None:
    async def awaited() -> list[Token]:
        return [token async for token in model.generate([1, 2], max_tokens=30)]

    assert asyncio.run(awaited()) == list(model.generate([1, 2], max_tokens=30))


def test_a_slow_consumer_pauses_decoding(tmp_path: Path) -> None:
    executor = FakeExecutor()
    model = fake_model(tmp_path / "model", executor)

    async def slow() -> tuple[int, list[Token]]:
        stream = aiter(model.generate([1], max_tokens=CONTEXT - 1))
        tokens = [await anext(stream)]
        for _ in range(50):  # until the thread has nothing more to do
            before = len(executor.calls)
            await asyncio.sleep(0.02)
            if len(executor.calls) == before:
                break
        ahead = len(executor.calls) - 1
        return ahead, tokens + [token async for token in stream]

    ahead, tokens = asyncio.run(slow())
    assert 1 <= ahead <= AHEAD + 1  # one more is computed before there is no room for it
    assert tokens == list(model.generate([1], max_tokens=CONTEXT - 1))


@pytest.mark.parametrize("way", ["break", "cancel"])
def test_an_asynchronous_consumer_that_leaves_frees_the_model(tmp_path: Path, way: str) -> None:
    executor = FakeExecutor()
    model = fake_model(tmp_path / "model", executor)
    threads = threading.active_count()

    async def leaves() -> None:
        stream = aiter(model.generate([1]))
        async for _ in stream:
            if way == "cancel":
                await asyncio.sleep(60)
            break
        await stream.aclose()  # type: ignore[attr-defined]

    async def run() -> None:
        task = asyncio.create_task(leaves())
        if way == "cancel":
            await asyncio.sleep(0.05)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    deadline = time.monotonic() + 60
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads
    assert len(list(model.generate([1], max_tokens=3))) == 3


def test_an_error_reaches_who_awaits(tmp_path: Path) -> None:
    model = fake_model(tmp_path / "model", FakeExecutor(poison=frozenset({3})))

    async def awaited() -> list[Token]:
        return [token async for token in model.generate([1], max_tokens=9)]

    with pytest.raises(RuntimeError, match="poisoned"):
        asyncio.run(awaited())


# -- interrupts ------------------------------------------------------------------------------------------------------


def test_an_interrupt_takes_effect_before_the_next_step(tmp_path: Path) -> None:
    executor = FakeExecutor()
    model = fake_model(tmp_path / "model", executor)
    generation = model.generate([1, 2], max_tokens=20)
    next(generation)
    next(generation)
    calls = len(executor.calls)
    thread = threading.Thread(target=generation.interrupt)
    thread.start()
    thread.join()
    assert list(generation) == [Token(NO_TOKEN, finish_reason="interrupt")]
    assert len(executor.calls) == calls
    assert model.stats.finish_reason == "interrupt"


def test_an_interrupted_session_goes_on(model: Model) -> None:
    wanted = [token.id for token in model.generate([1, 2], max_tokens=8)]
    session = model.session()
    generation = model.generate([1, 2], max_tokens=8, session=session)
    begun = [next(generation).id for _ in range(3)]
    generation.interrupt()
    assert next(generation).finish_reason == "interrupt"
    rest = [token.id for token in model.generate([1, 2, *begun], max_tokens=5, session=session)]
    assert begun + rest == wanted
    assert model.stats.reused_tokens >= 3


def test_a_long_prompt_is_interrupted_between_its_pieces(tmp_path: Path) -> None:
    def answer(tokens: object) -> int:
        generation.interrupt()
        return 5

    executor = FakeExecutor(answer)
    model = fake_model(tmp_path / "model", executor)
    generation = model.generate([3] * 30)
    assert [token.finish_reason for token in generation] == ["interrupt"]
    assert executor.calls == ["prefill"]  # one of four


def test_half_a_character_comes_with_the_interrupt(tmp_path: Path) -> None:
    model = fake_model(tmp_path / "model", FakeExecutor(scripted(0xE2, 0x9C)))
    generation = model.generate([0])
    next(generation)
    generation.interrupt()
    assert [token.text for token in generation] == ["\N{REPLACEMENT CHARACTER}"]


# -- delegates -------------------------------------------------------------------------------------------------------


class Recorder:
    def __init__(self, fail_at: int = 0) -> None:
        self.tokens: list[Token] = []
        self.ended: list[object] = []
        self._fail_at = fail_at

    def token(self, token: Token) -> None:
        self.tokens.append(token)
        if len(self.tokens) == self._fail_at:
            raise ValueError("full")

    def finished(self, statistics: Statistics) -> None:
        self.ended.append(statistics.finish_reason)

    def failed(self, error: Exception) -> None:
        self.ended.append(str(error))


def test_a_delegate_is_called_for_every_token(model: Model) -> None:
    recorder = Recorder()
    model.generate([1, 2], max_tokens=6).deliver(recorder).join(60)
    assert recorder.tokens == list(model.generate([1, 2], max_tokens=6))
    assert recorder.ended == ["length"]


def test_a_delegate_that_fails_ends_the_generation(tmp_path: Path) -> None:
    executor = FakeExecutor()
    recorder = Recorder(fail_at=2)
    fake_model(tmp_path / "model", executor).generate([1], max_tokens=9).deliver(recorder).join(60)
    assert recorder.ended == ["full"]
    assert len(executor.calls) == 2


def test_an_error_of_the_executor_reaches_the_delegate(tmp_path: Path) -> None:
    recorder = Recorder()
    model = fake_model(tmp_path / "model", FakeExecutor(poison=frozenset({2})))
    model.generate([1], max_tokens=9).deliver(recorder).join(60)
    assert (len(recorder.tokens), recorder.ended) == (1, ["poisoned call"])


# -- sessions and stop strings through the loop ----------------------------------------------------------------------


def test_a_session_keeps_the_common_beginning(tmp_path: Path) -> None:
    executor = FakeExecutor()
    model = fake_model(tmp_path / "model", executor)
    session = model.session()
    first = [token.id for token in model.generate([1, 2, 3], max_tokens=4, session=session)]
    executor.calls.clear()
    follow = [1, 2, 3, *first, 9]
    found = [token.id for token in model.generate(follow, max_tokens=3, session=session)]
    assert model.stats.reused_tokens == 6  # the last token told was not written
    assert executor.calls == ["prefill", "decode", "decode"]
    assert found == [token.id for token in model.generate(follow, max_tokens=3)]
    other = [token.id for token in model.generate([1, 2, 7], max_tokens=3, session=session)]
    assert model.stats.reused_tokens == 2
    assert other == [token.id for token in model.generate([1, 2, 7], max_tokens=3)]


def test_a_stop_string_across_tokens(tmp_path: Path) -> None:
    model = fake_model(tmp_path / "model", FakeExecutor(scripted(*b"ab##cd")))
    tokens = list(model.generate([0], stop="##"))
    assert [(token.text, token.finish_reason) for token in tokens] == [
        ("a", None), ("b", None), ("", None), ("", "stop"),
    ]  # fmt: skip
    assert model.stats.stop_string == "##"
    assert model.generate([0], stop=["#c", "zz"]).text() == "ab#"


def test_what_was_held_back_for_a_stop_string_comes_at_the_end(tmp_path: Path) -> None:
    model = fake_model(tmp_path / "model", FakeExecutor(scripted(*b"ab#", EOS)))
    tokens = list(model.generate([0], stop="##"))
    assert [token.text for token in tokens] == ["a", "b", "", "#"]
    assert model.stats.stop_string is None


class Twice:
    """A drafter that always guesses right: two tokens a step."""

    speedup = 2.0

    def step(self, session: object, sampler: object, token: int) -> tuple[list[object], int]:
        from lilims.runtime.sampling import Choice
        from lilims.runtime.session import Session

        assert isinstance(session, Session)
        tokens = [*session.tokens, token]
        first = mixed(tokens)
        session.append([token, first])
        return [Choice(first), Choice(mixed([*tokens, first]))], 1


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, None])
def test_a_drafter_changes_nothing(model: Model, count: int | None) -> None:
    wanted = list(model.generate([1, 2], max_tokens=count))
    session = model.session()
    found = list(model.generate([1, 2], max_tokens=count, session=session, drafter=Twice()))  # type: ignore[arg-type]
    assert found == wanted
    assert session.tokens == [1, 2, *(token.id for token in wanted[:-1])][: len(session.tokens)]
    assert len(session.tokens) == 1 + len(wanted)


def test_want_of_memory_leaves_the_session_usable(tmp_path: Path) -> None:
    """As ONNX Runtime reports it, in the middle of a generation."""
    executor = FakeExecutor()
    model = fake_model(tmp_path / "model", executor)
    wanted = [token.id for token in model.generate([1, 2], max_tokens=8)]
    session = model.session()
    generation = model.generate([1, 2], max_tokens=8, session=session)
    begun = [next(generation).id for _ in range(3)]
    executor.poison = frozenset({len(executor.calls) + 1})
    executor.error = OutOfMemoryError("the program failed for want of memory: std::bad_alloc")
    with pytest.raises(OutOfMemoryError):
        next(generation)
    rest = [token.id for token in model.generate([1, 2, *begun], max_tokens=5, session=session)]
    assert begun + rest == wanted
