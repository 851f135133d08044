"""Which cache a prompt takes, what is copied, and what a repeatable request may go on from."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from lilims.runtime import Model
from lilims.ui import Engine, EngineSettings, Request
from lilims.ui.engine.caches import Cache, Caches

from ..helpers import stories

SLICE = 8


@pytest.fixture
def model() -> Model:
    return stories()


def filled(caches: Caches, ids: list[int]) -> Cache:
    """A cache that a request has left."""
    cache = caches.take([*ids, 0], exact=False)
    cache.session.append(ids[cache.session.position :])
    caches.give_back(cache)
    return cache


def test_the_longest_beginning_is_kept(model: Model) -> None:
    caches = Caches(model.session, 3, SLICE)
    one = filled(caches, [*range(10, 40)])
    two = filled(caches, [*range(50, 80)])
    assert one is not two and len(caches) == 2
    again = caches.take([*range(10, 40), 41, 42], exact=False)
    assert again is one and again.session.position == 30 and caches.forks == 0


def test_a_conversation_is_not_lost_to_another_that_begins_alike(model: Model) -> None:
    """A short common beginning (a system message) is copied: the long conversation stays."""
    caches = Caches(model.session, 3, SLICE)
    long = filled(caches, [*range(10, 110)])
    other = caches.take([*range(10, 34), 200, 201], exact=False)
    assert other is not long and other.session.tokens == [*range(10, 34)] and caches.forks == 1
    assert long.session.position == 100
    np.testing.assert_array_equal(other.session.append([200]), model.step_logits([*range(10, 34), 200])[-1])


def test_a_cache_in_use_is_copied(model: Model) -> None:
    caches = Caches(model.session, 2, SLICE)
    busy = caches.take([*range(10, 40)], exact=False)
    busy.session.append([*range(10, 39)])
    twin = caches.take([*range(10, 40)], exact=False)
    assert twin is not busy and twin.session.tokens == [*range(10, 39)] and not caches.free


def test_without_room_the_oldest_goes(model: Model) -> None:
    caches = Caches(model.session, 2, SLICE)
    old, new = filled(caches, [*range(10, 40)]), filled(caches, [*range(50, 80)])
    third = caches.take([*range(90, 120)], exact=False)
    assert third is old and third.session.position == 0 and new.session.position == 30 and len(caches) == 2


def test_a_token_in_common_is_no_reason_to_forget_the_newest(model: Model) -> None:
    """Every text begins with the same BOS."""
    caches = Caches(model.session, 2, SLICE)
    old, new = filled(caches, [1, *range(10, 40)]), filled(caches, [1, *range(50, 80)])
    assert caches.take([1, *range(90, 120)], exact=False) is old and new.session.position == 31


def test_without_room_a_beginning_is_copied_into_the_oldest(model: Model) -> None:
    caches = Caches(model.session, 2, SLICE)
    old, new = filled(caches, [*range(10, 40)]), filled(caches, [*range(50, 150)])
    third = caches.take([*range(50, 70), 3, 4], exact=False)
    assert third is old and third.session.tokens == [*range(50, 70)] and new.session.position == 100


def test_a_failed_cache_is_gone(model: Model) -> None:
    caches = Caches(model.session, 1, SLICE)
    caches.drop(caches.take([1, 2], exact=False))
    assert len(caches) == 0 and caches.free


def test_a_repeatable_request_goes_on_from_whole_slices_of_prompts(model: Model) -> None:
    caches = Caches(model.session, 1, SLICE)
    cache = filled(caches, [*range(10, 40)])
    assert cache.reusable([*range(10, 60)], exact=True, slice_tokens=SLICE) == 0, "nobody said that they are slices"
    cache.exact = 24
    assert cache.reusable([*range(10, 60)], exact=True, slice_tokens=SLICE) == 24
    assert cache.reusable([*range(10, 30), 99, 98], exact=True, slice_tokens=SLICE) == 16
    assert cache.reusable([*range(10, 60)], exact=False, slice_tokens=SLICE) == 30


def run(*requests: Request, **settings: Any) -> list[Any]:
    """Statistics of requests that run one after the other."""

    async def main() -> list[Any]:
        found = []
        async with Engine([], EngineSettings(**settings)) as engine:
            for request in requests:
                job = await engine.submit(request)
                await asyncio.wait_for(job.text(), 60)
                found.append(job.statistics)
        return found

    return asyncio.run(main())


def test_turns_of_a_conversation_reuse_what_was_said() -> None:
    story = "Once upon a time there was a little fox who lived in the forest with all of his friends. " * 3
    first, second = run(
        Request(prompt=story, max_tokens=4), Request(prompt=story + "One day the fox", max_tokens=4)
    )  # fmt: skip
    assert first.reused_tokens == 0
    assert second.reused_tokens >= first.prompt_tokens - 2
    assert second.prompt_tokens > second.reused_tokens and second.time_to_first_token > 0


def test_seeded_requests_reuse_prompts_alone() -> None:
    story = "Once upon a time there was a little fox who lived in the forest with all of his friends. " * 3
    request = Request(prompt=story, max_tokens=4, sampling={"seed": 1, "temperature": 1.0})
    first, second = run(request, request, slice_tokens=16)
    assert second.reused_tokens == (first.prompt_tokens - 1) // 16 * 16 > 0


def test_the_budget_bounds_the_caches() -> None:
    async def main() -> list[dict[str, Any]]:
        async with Engine([], EngineSettings(cache_bytes=1)) as engine:
            jobs = [await engine.submit(Request(prompt="Once", max_tokens=5)) for _ in range(4)]
            await asyncio.gather(*(job.text() for job in jobs))
            return engine.loaded()

    (model,) = asyncio.run(main())
    assert model["caches"] == model["most_caches"] == 1
