"""Chunks: every token once, padding that nobody sees, room for the largest chunk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.context import (
    Call,
    Chunk,
    DecoderShape,
    StateRows,
    Visibility,
    attention_mask,
    plan_calls,
    ring_row,
    state_rows,
)
from lilims.core.errors import ContextOverflowError


@pytest.mark.parametrize(
    ("tokens", "position", "chunk", "expected"),
    [
        (0, 5, 4, []),
        (1, 0, 4, [(0, 1)]),
        (4, 0, 4, [(0, 4)]),
        (5, 0, 4, [(0, 4), (4, 1)]),
        (9, 3, 4, [(3, 4), (7, 4), (11, 1)]),
        (3, 61, 1, [(61, 1), (62, 1), (63, 1)]),
    ],
)
def test_chunks_of_a_prompt(tokens: int, position: int, chunk: int, expected: list[tuple[int, int]]) -> None:
    shape = DecoderShape(64, 96, {"decode": 1, "score": chunk})
    chunks = [call.chunk for call in plan_calls(tokens, position=position, shape=shape, need_logits_of="all")]
    assert [(c.slot, c.count) for c in chunks] == expected
    assert {c.size for c in chunks} <= {chunk}


@pytest.mark.parametrize(
    ("position", "keep", "expected"),
    [
        (90, 0, [("prefill", 90, 6), ("prefill", 0, 16), ("prefill", 16, 3)]),  # rows 90 to 95, then 0 to 18
        (90, 4, [("prefill", 90, 6), ("prefill", 4, 16), ("prefill", 20, 3)]),
        (80, 4, [("prefill", 80, 16), ("prefill", 4, 9)]),
        (188, 4, [("prefill", 4, 16), ("prefill", 20, 9)]),
    ],
)
def test_rows_that_go_round(position: int, keep: int, expected: list[tuple[str, int, int]]) -> None:
    """Where a chunk does not fit before the last row, single tokens go there."""
    calls = plan_calls(25, position=position, shape=SHAPE, keep=keep)
    got: list[tuple[str, int, int]] = []
    for call in calls:
        chunk = call.chunk
        assert chunk.slot == ring_row(chunk.position, 96, keep) and chunk.slot + chunk.size <= 96
        if call.function == "decode" and got and chunk.slot > 80:
            got[-1] = (got[-1][0], got[-1][1], got[-1][2] + 1)
        else:
            got.append(("prefill", chunk.slot, chunk.count))
    assert got == expected
    assert [call.chunk.position for call in calls[1:]] == [call.chunk.end for call in calls[:-1]]


def test_overflow_names_the_numbers() -> None:
    with pytest.raises(ContextOverflowError, match="60 tokens in the context and 5 more do not fit into 64") as caught:
        plan_calls(5, position=60, shape=SHAPE)
    assert caught.value.hint is not None and "by 1 tokens" in caught.value.hint
    assert len(plan_calls(4, position=60, shape=SHAPE)) == 1


@pytest.mark.parametrize("arguments", [(-1, 0), (1, -1)])
def test_negative_numbers_are_refused(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot place"):
        plan_calls(arguments[0], position=arguments[1], shape=SHAPE)


@pytest.mark.parametrize("chunk", [(-1, 1, 1), (0, 0, 1), (0, 2, 1)])
def test_a_chunk_checks_itself(chunk: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="not a chunk"):
        Chunk(*chunk)


@given(context=st.integers(1, 300), sizes=st.lists(st.integers(1, 80), min_size=1, max_size=3))
def test_state_rows_leave_room_for_every_padded_chunk(context: int, sizes: list[int]) -> None:
    rows = state_rows(context, sizes)
    assert rows % 32 == 0 and context + max(sizes) <= rows < context + max(sizes) + 32


@st.composite
def conversations(draw: st.DrawFn) -> tuple[DecoderShape, int | None, list[int]]:
    """A shape, a window, and the lengths of turns that fit."""
    context = draw(st.integers(1, 90))
    functions = {"decode": 1, "prefill": draw(st.integers(1, 12)), "score": draw(st.integers(1, 12))}
    rows = state_rows(context, functions.values())
    turns = draw(st.lists(st.integers(0, context), max_size=6).filter(lambda t: sum(t) <= context))
    return DecoderShape(context, rows, functions), draw(st.none() | st.integers(1, 20)), turns


@given(conversations(), st.sampled_from(["last", "all"]))
def test_no_query_ever_sees_padding(conversation: tuple[DecoderShape, int | None, list[int]], logits: str) -> None:
    """A cache of tags: what a call writes is a position or None (padding); real queries must see exactly their past."""
    shape, window, turns = conversation
    cache: list[int | None] = [None] * shape.rows
    held = StateRows(shape.rows)
    position, seen = 0, []
    for tokens in turns:
        calls = plan_calls(tokens, position=position, shape=shape, need_logits_of=logits)  # type: ignore[arg-type]
        for call in calls:
            chunk = call.chunk
            assert chunk.size == shape.functions[call.function] and chunk.slot + chunk.size <= shape.rows
            cache[chunk.slot : chunk.slot + chunk.size] = [
                chunk.slot + i if i < chunk.count else None for i in range(chunk.size)
            ]
            seen += range(chunk.slot, chunk.end)
            mask = attention_mask(chunk, held, Visibility(shape.context, 0, window))[0, 0]
            held.begin(chunk)
            held.finish(chunk)
            for query in range(chunk.count):
                visible = [cache[row] for row in range(shape.rows) if mask[query, row] == 0]
                here = chunk.slot + query
                assert visible == list(range(0 if window is None else max(0, here - window + 1), here + 1))
            assert (mask == 0).any(axis=1).all()  # padded queries see something
        position += tokens
    assert seen == list(range(position))


SHAPE = DecoderShape(64, 96, {"decode": 1, "prefill": 16, "score": 8})


@pytest.mark.parametrize(
    ("tokens", "logits", "expected"),
    [
        (0, "last", []),
        (1, "last", [("decode", 1)]),
        (2, "last", [("prefill", 2)]),
        (17, "last", [("prefill", 16), ("decode", 1)]),
        (32, "last", [("prefill", 16), ("prefill", 16)]),
        (1, "all", [("score", 1)]),
        (17, "all", [("score", 8), ("score", 8), ("score", 1)]),
    ],
)
def test_functions_are_chosen(tokens: int, logits: str, expected: list[tuple[str, int]]) -> None:
    calls = plan_calls(tokens, position=0, shape=SHAPE, need_logits_of=logits)  # type: ignore[arg-type]
    assert [(call.function, call.chunk.count) for call in calls] == expected


@pytest.mark.parametrize("logits", ["last", "all"])
def test_without_chunked_functions_tokens_go_one_by_one(logits: str) -> None:
    shape = DecoderShape(64, 96, {"decode": 1})
    calls = plan_calls(3, position=7, shape=shape, need_logits_of=logits)  # type: ignore[arg-type]
    assert calls == [Call("decode", Chunk(slot, 1, 1)) for slot in (7, 8, 9)]
