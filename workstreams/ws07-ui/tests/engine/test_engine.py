"""The engine on the built-in model: same text as the runtime gives, turns that interleave, places that come free."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lilims.core.errors import ContextOverflowError, UsageError
from lilims.ui import Engine, EngineSettings, Job, Request
from lilims.ui.engine import QueueFullError, StalledError, StoppedError, UnknownModelError

from ..helpers import stories

T = TypeVar("T")


def with_engine(work: Callable[[Engine], Awaitable[T]], *models: str, **settings: Any) -> T:
    """Runs `work` with an engine, for a minute at most."""

    async def main() -> T:
        async with Engine(models, EngineSettings(**settings)) as engine:
            return await asyncio.wait_for(work(engine), 60)

    return asyncio.run(main())


def expected(prompt: str, **options: Any) -> str:
    return stories().generate(prompt, **options).text()


def test_text_is_what_the_runtime_gives() -> None:
    async def work(engine: Engine) -> tuple[str, Job]:
        job = await engine.submit(Request(prompt="Once upon a time", max_tokens=30, sampling={"temperature": 0}))
        return await job.text(), job

    text, job = with_engine(work)
    assert text == expected("Once upon a time", max_tokens=30, temperature=0)
    assert (job.model, job.state, job.statistics.finish_reason) == ("stories", "ended", "length")
    assert (job.statistics.generated_tokens, job.statistics.prompt_tokens) == (30, len(job.prompt))


def test_a_short_answer_is_not_held_up_by_a_long_one() -> None:
    async def work(engine: Engine) -> list[str]:
        order: list[str] = []

        async def read(name: str, job: Job) -> None:
            async for _ in job:
                order.append(name)

        long = await engine.submit(Request(prompt="Once upon a time", max_tokens=300, ignore_eos=True))
        await anext(long)
        short = await engine.submit(Request(prompt="The cat", max_tokens=20, ignore_eos=True))
        await asyncio.gather(read("long", long), read("short", short))
        return order

    order = "".join(name[0] for name in with_engine(work, ahead=1))
    last_short = order.rindex("s")
    assert order.count("s") == 20 and order.count("l") == 299
    assert order[last_short:].count("l") > 150, "the short one ended long before the long one"
    beside = order[order.index("s") : last_short]
    assert 10 < beside.count("l") < 40, "while both ran they took turns"


def test_seeded_text_is_the_same_whatever_else_runs() -> None:
    prompts = [f"{who} went to the {place}" for who in ("Tom", "Mia", "The dog") for place in ("park", "sea", "shop")]
    alone = [expected(p, max_tokens=25, temperature=0.9, seed=n) for n, p in enumerate(prompts)]

    async def work(engine: Engine) -> list[str]:
        async def one(n: int, prompt: str) -> str:
            sampling = {"temperature": 0.9, "seed": n}
            return await (await engine.submit(Request(prompt=prompt, max_tokens=25, sampling=sampling))).text()

        return await asyncio.gather(*(one(n, p) for n, p in enumerate(prompts)))

    assert with_engine(work, parallel=4) == alone


def test_a_cancelled_job_ends_at_once_and_frees_its_place() -> None:
    async def work(engine: Engine) -> tuple[list[Any], int, int]:
        job = await engine.submit(Request(prompt="Once", max_tokens=400, ignore_eos=True))
        await anext(job)
        job.cancel()
        rest = [token async for token in job]
        await job.ended.wait()
        return rest, job.statistics.generated_tokens, engine.running

    rest, generated, running = with_engine(work, ahead=4)
    assert rest[-1].finish_reason == "interrupt" and generated <= 5 and running == 0


def test_the_queue_is_bounded() -> None:
    async def work(engine: Engine) -> QueueFullError:
        jobs = [await engine.submit(Request(prompt="Once", max_tokens=300, ignore_eos=True)) for _ in range(3)]
        with pytest.raises(QueueFullError) as refused:
            await engine.submit(Request(prompt="Once"))
        for job in jobs:
            job.cancel()
            await job.ended.wait()
        await (await engine.submit(Request(prompt="Once", max_tokens=2))).text()
        return refused.value

    assert with_engine(work, parallel=1, queue=2, ahead=2).retry_after >= 1


def test_a_refusal_says_how_long_those_that_wait_will_run() -> None:
    async def work(engine: Engine) -> tuple[int, float]:
        async def some(tokens: int) -> list[Job]:
            return [await engine.submit(Request(prompt="Once", max_tokens=tokens, ignore_eos=True)) for _ in range(9)]

        await engine.load()
        begun = time.perf_counter()
        await asyncio.gather(*[job.text() for job in await some(20)])
        seconds = time.perf_counter() - begun  # for as many as will wait, and one more
        jobs = await some(400)
        with pytest.raises(QueueFullError) as refused:
            await engine.submit(Request(prompt="Once"))
        for job in jobs:
            job.cancel()
        return refused.value.retry_after, seconds

    told, seconds = with_engine(work, parallel=1, queue=8)
    assert 1 <= told <= max(1, round(seconds))


def test_a_reader_that_stops_loses_its_place() -> None:
    async def work(engine: Engine) -> list[Any]:
        job = await engine.submit(Request(prompt="Once", max_tokens=300, ignore_eos=True))
        await asyncio.wait_for(job.ended.wait(), 60)
        seen = [await anext(job) for _ in range(5)]
        with pytest.raises(StalledError):
            await anext(job)
        return seen

    assert len(with_engine(work, ahead=5, stall=0.1)) == 5, "no more than `ahead` events are kept"


def test_bad_requests() -> None:
    async def work(engine: Engine) -> None:
        with pytest.raises(UnknownModelError, match="/etc/passwd"):
            await engine.submit(Request(model="/etc/passwd", prompt="x"))
        with pytest.raises(ContextOverflowError):
            await engine.submit(Request(prompt="word " * 2000))
        with pytest.raises(UsageError, match="temperature"):
            await engine.submit(Request(prompt="x", sampling={"temperature": -1.0}))
        with pytest.raises(UsageError, match="vocabulary"):
            await engine.submit(Request(prompt="x", sampling={"logit_bias": {10**6: 1.0}}))
        with pytest.raises(UsageError, match="either"):
            await engine.submit(Request())
        assert engine.waiting == 0 and engine.running == 0

    with_engine(work)


def test_a_stopped_engine_ends_its_jobs() -> None:
    async def main() -> None:
        engine = Engine()
        with pytest.raises(StoppedError):
            await engine.submit(Request(prompt="x"))
        await engine.start()
        job = await engine.submit(Request(prompt="Once", max_tokens=400, ignore_eos=True))
        await engine.stop()
        with pytest.raises(StoppedError):
            await job.text()
        assert engine.loaded() == []

    asyncio.run(main())


def test_cards_and_unloading() -> None:
    async def work(engine: Engine) -> None:
        (card,) = engine.cards()
        assert (card.name, card.aliases, card.built_in, card.loaded) == ("stories", ("stories-int4",), True, False)
        assert card.context == 512 and card.bytes > 10**6 and card.chats is False
        await (await engine.submit(Request(model="stories-int4", prompt="x", max_tokens=1))).text()
        assert engine.card("stories").loaded and engine.loaded()[0]["name"] == "stories"
        assert engine.unload("stories") and not engine.unload("stories") and engine.loaded() == []

    with_engine(work)


@pytest.mark.parametrize(("context", "told"), [(100, 100), (4096, 512)])
def test_a_card_tells_the_context_that_is_served(context: int, told: int) -> None:
    async def work(engine: Engine) -> tuple[int | None, int]:
        job = await engine.submit(Request(prompt="x", max_tokens=1))
        await job.text()
        return engine.card("stories").context, job.context

    assert with_engine(work, load={"context": context}) == (told, told)


def test_an_idle_model_goes_after_its_time() -> None:
    async def work(engine: Engine) -> None:
        await (await engine.submit(Request(prompt="x", max_tokens=1))).text()
        for _ in range(1200):
            if not engine.loaded():
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the model is still loaded")

    with_engine(work, keep_alive=0)


def test_an_unloaded_model_is_gone_even_if_a_job_is_kept() -> None:
    async def work(engine: Engine) -> bool:
        job = await engine.submit(Request(prompt="Once", max_tokens=3))
        assert job.work is not None
        model = weakref.ref(job.work.model)
        await job.text()
        assert model() is not None
        engine.unload("stories")
        for _ in range(3000):
            if model() is None:
                return job.statistics.generated_tokens == 3
            await asyncio.sleep(0.02)
        return False

    assert with_engine(work)


def test_the_least_used_model_makes_room(home: Path, tmp_path: Path) -> None:
    folders = []
    for name in ("one", "two"):
        folders.append(str(shutil.copytree(home / "models" / "stories-int4", tmp_path / name)))
        manifest = tmp_path / name / "manifest.json"
        content = json.loads(manifest.read_text())
        content.pop("digest", None)
        manifest.write_text(json.dumps({**content, "name": name}))

    async def work(engine: Engine) -> list[list[str]]:
        seen = []
        for name in ("one", "two", "stories", "one"):
            await (await engine.submit(Request(model=name, prompt="Once", max_tokens=1))).text()
            seen.append([one["name"] for one in engine.loaded()])
        await asyncio.gather(
            *[
                (await engine.submit(Request(model=name, prompt="Once", max_tokens=2))).text()
                for name in ("one", "stories")
            ]
        )
        return seen

    seen = with_engine(work, *folders, models=2)
    assert seen == [["one"], ["one", "two"], ["two", "stories"], ["stories", "one"]]
