"""Sessions against the plain definition: the logits of a token depend on it and all before it, wherever chunks end."""

from __future__ import annotations

import numpy as np
import pytest

from lilims.core.errors import ContextOverflowError, ExecutionError, UsageError
from lilims.runtime import contract
from lilims.runtime.session import Session

from .fakes import CHUNK, CONTEXT, VOCAB, FakeExecutor, logits_of, manifest_of, mixed

IDS = [(7 * i + 3) % 256 for i in range(CONTEXT)]


def session(executor: FakeExecutor) -> Session:
    return Session(executor, contract.decoder_shape(manifest_of(), package="p"), VOCAB)


def expected(count: int) -> np.ndarray:
    return logits_of(mixed(IDS[:count]))


@pytest.mark.parametrize("count", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + 2, 3 * CHUNK, CONTEXT - 1, CONTEXT])
def test_a_prompt_in_chunks(count: int) -> None:
    executor = FakeExecutor()
    one = session(executor)
    np.testing.assert_array_equal(one.append(IDS[:count]), expected(count))
    assert one.position == count
    chunks, rest = divmod(count, CHUNK)
    assert executor.calls == ["prefill"] * (chunks + (rest > 1)) + ["decode"] * (rest == 1)


@pytest.mark.parametrize("first", [1, 3, CHUNK, CHUNK + 3])
def test_token_by_token_after_a_prompt(first: int) -> None:
    one = session(FakeExecutor())
    one.append(IDS[:first])
    for count in range(first + 1, CONTEXT + 1):
        np.testing.assert_array_equal(one.append([IDS[count - 1]]), expected(count))


def test_chunks_after_chunks_overwrite_the_padding() -> None:
    one = session(FakeExecutor())
    for start, end in ((0, 3), (3, 8), (8, 21), (21, 23), (23, CONTEXT)):
        np.testing.assert_array_equal(one.append(IDS[start:end]), expected(end))


def test_every_row_is_scored() -> None:
    executor = FakeExecutor()
    parts = list(session(executor).score(IDS[:21]))
    assert [len(part) for part in parts] == [8, 8, 5]
    assert executor.calls == ["score"] * 3
    for count, row in enumerate(np.concatenate(parts), start=1):
        np.testing.assert_array_equal(row, expected(count))


def test_two_sessions_do_not_meet() -> None:
    executor = FakeExecutor()
    one, two = session(executor), session(executor)
    one.append(IDS[:5])
    two.append([9, 9, 9])
    np.testing.assert_array_equal(one.append([IDS[5]]), expected(6))


def test_too_many_tokens_write_nothing() -> None:
    executor = FakeExecutor()
    one = session(executor)
    one.append(IDS[:30])
    calls = len(executor.calls)
    with pytest.raises(ContextOverflowError, match="30 tokens in the context and 11 more do not fit into 40"):
        one.append(IDS[:11])
    assert (one.position, len(executor.calls)) == (30, calls)
    np.testing.assert_array_equal(one.append(IDS[30:40]), expected(40))


@pytest.mark.parametrize("ids", [[], [VOCAB], [3, -1]], ids=["none", "too-large", "negative"])
def test_bad_ids(ids: list[int]) -> None:
    executor = FakeExecutor()
    with pytest.raises(UsageError):
        session(executor).append(ids)
    assert executor.calls == []


def test_a_call_that_fails_leaves_a_session_that_goes_on() -> None:
    executor = FakeExecutor(poison=frozenset({2}))
    one = session(executor)
    with pytest.raises(RuntimeError, match="poisoned"):
        one.append(IDS[:20])
    assert one.position == CHUNK
    np.testing.assert_array_equal(one.append(IDS[CHUNK:20]), expected(20))


def test_logits_of_another_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow(FakeExecutor):
        def function(self, name: str) -> object:  # type: ignore[override]
            class Function:
                def predict(self, inputs: object, state: object) -> dict[str, np.ndarray]:
                    return {"logits": np.zeros((1, 1, 64), np.float32)}

            return Function()

    with pytest.raises(ExecutionError, match=r"logits of shape \[1, 1, 64\]"):
        session(Narrow()).append([1, 2])
