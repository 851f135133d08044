"""How a text is cut: llama.cpp's rules, Hugging Face's, and every token but the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.conversion.evaluation.windows import Kind, Windowing, plan
from lilims.core.errors import UsageError


def llama(ids: Sequence[int], n_ctx: int, bos: int | None) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """What is run and what counts, step by step as perplexity.cpp has it."""
    first = n_ctx // 2
    for i in range(len(ids) // n_ctx):
        tokens = list(ids)
        start = i * n_ctx
        if bos is not None:
            tokens[start] = bos
        run = tuple(tokens[start : start + n_ctx])
        yield run, [ids[start + j + 1] for j in range(first, n_ctx - 1)]


@given(st.integers(3, 17), st.integers(0, 80), st.sampled_from([None, 1]))
def test_llama_cpp(size: int, count: int, bos: int | None) -> None:
    ids = list(range(100, 100 + count))
    wanted = list(llama(ids, size, bos))
    if not wanted:
        with pytest.raises(UsageError, match=f"the text has {count} tokens, a window {size}"):
            plan(ids, Windowing(size, bos=bos))
        return
    found = plan(ids, Windowing(size, bos=bos))
    assert [(w.ids, list(w.targets)) for w in found] == wanted
    assert all(len(w.targets) == size - 1 - size // 2 for w in found)
    assert all([ids[p] for p in w.places] == list(w.targets) for w in found)


def hugging_face(count: int, size: int, stride: int) -> Iterator[tuple[int, int, list[int]]]:
    """Begin, end and the places that count of each window, by the loop of transformers' guide and its masks."""
    previous = 0
    for begin in range(0, count, stride):
        end = min(begin + size, count)
        labels = list(range(begin, end))
        labels[: len(labels) - (end - previous)] = [-100] * (len(labels) - (end - previous))
        yield begin, end, [label for label in labels[1:] if label != -100]  # the model shifts labels by one
        previous = end
        if end == count:
            break


@given(st.integers(2, 20), st.integers(2, 90), st.data())
def test_strided(size: int, count: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size))
    ids = list(range(count))
    if count < size:
        return
    found = plan(ids, Windowing(size, "strided", stride))
    wanted = [one for one in hugging_face(count, size, stride) if one[2]]
    assert [(w.start, w.start + len(w.ids), list(w.places)) for w in found] == wanted
    every = [place for w in found for place in w.places]
    assert len(every) == len(set(every))
    assert stride == size or every == list(range(1, count))


def test_all_but_the_first() -> None:
    found = plan(list(range(11)), Windowing(4, "all"))
    assert [w.ids for w in found] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert [w.targets for w in found] == [(1, 2, 3), (5, 6, 7)]
    assert [w.inputs for w in found] == [(0, 1, 2), (4, 5, 6)]


def test_no_more_than_asked_for() -> None:
    assert len(plan(list(range(100)), Windowing(10), limit=3)) == 3
    assert len(plan(list(range(100)), Windowing(10), limit=30)) == 10


@pytest.mark.parametrize(
    ("size", "kind", "stride", "message"),
    [
        (2, "llama.cpp", None, "a window of 2 tokens is too small"),
        (1, "all", None, "a window of 1 tokens is too small"),
        (8, "strided", None, "have a stride if they are strided"),
        (8, "llama.cpp", 4, "have a stride if they are strided"),
        (8, "strided", 9, "a stride of 9 tokens leaves gaps between windows of 8"),
        (8, "strided", 0, "a stride of 0 tokens"),
    ],
)
def test_bad_windows(size: int, kind: Kind, stride: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Windowing(size, kind, stride)
