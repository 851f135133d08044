"""Proposals: what a look-up finds, and what a draft model keeps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.runtime.speculative import ModelDraft, PromptLookup

from .toy import ToySession, as_session


def naive(ids: Sequence[int], count: int, longest: int, shortest: int) -> list[int]:
    """The latest place where the last tokens stood before, searched from the end."""
    for size in range(longest, shortest - 1, -1):
        for end in range(len(ids) - 1, size - 1, -1):
            if size < len(ids) and list(ids[end - size : end]) == list(ids[-size:]):
                whole = list(ids)
                for _ in range(count):
                    whole.append(whole[end + len(whole) - len(ids)])
                return whole[len(ids) :]
    return []


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        ([1, 2, 3, 9, 1, 2], [3, 9, 1, 2, 3]),
        ([1, 2, 3, 1, 2, 4, 1, 2], [4, 1, 2, 4, 1]),  # the latest one
        ([7, 1, 2, 3, 8, 1, 2, 3, 7, 1, 2], [3, 8, 1, 2, 3]),  # the longest one
        ([5, 5, 5], [5, 5, 5, 5, 5]),
        ([1, 2], []),
        ([1], []),
        ([], []),
    ],
    ids=str,
)
def test_what_followed(ids: list[int], wanted: list[int]) -> None:
    assert list(PromptLookup(3, 2).propose(ids, 5).ids) == wanted


@given(
    texts=st.lists(st.lists(st.integers(0, 3), max_size=30), min_size=1, max_size=4),
    longest=st.integers(1, 4),
    count=st.integers(1, 6),
)
def test_against_a_search(texts: list[list[int]], longest: int, count: int) -> None:
    """Also where one look-up serves several texts, each of which grows."""
    lookup = PromptLookup(longest, 1)
    for text in texts:
        for end in range(len(text) + 1):
            ids = text[:end]
            assert list(lookup.propose(ids, count).ids) == naive(ids, count, longest, 1)


def test_a_draft_model_runs_only_what_is_new() -> None:
    session = ToySession()
    draft = ModelDraft(as_session(session), confidence=0)
    first = list(draft.propose([0, 1, 2], 3).ids)
    assert session.tokens == [0, 1, 2, *first[:2]]
    assert session.appended == 3
    draft.propose([0, 1, 2, first[0], 4], 1)
    assert session.tokens == [0, 1, 2, first[0], 4]
    assert session.appended == 4


def test_a_draft_model_stops_where_its_context_is_full() -> None:
    draft = ModelDraft(as_session(ToySession(capacity=6)), confidence=0)
    assert len(draft.propose([0, 1, 2, 3], 5).ids) == 3
    assert len(draft.propose([0, 1, 2, 3, 4, 0], 5).ids) == 1
    assert len(draft.propose([0, 1, 2, 3, 4, 0, 1], 5).ids) == 0


def test_a_draft_model_stops_behind_a_token_that_it_is_not_sure_of() -> None:
    whole = list(ModelDraft(as_session(ToySession()), confidence=0, most=20).propose([0, 1], 20).ids)
    assert len(whole) == 20
    sizes = [len(ModelDraft(as_session(ToySession()), confidence=c).propose([0, 1], 20).ids) for c in (0, 0.55, 1)]
    assert sizes[0] == 8
    assert 8 > sizes[1] >= sizes[2] == 1
    assert list(ModelDraft(as_session(ToySession()), confidence=0.55).propose([0, 1], 20).ids) == whole[: sizes[1]]
