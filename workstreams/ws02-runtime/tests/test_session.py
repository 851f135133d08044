"""Sessions against the plain definition: the logits of a token depend on it and all before it, wherever chunks end."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lilims.context import ContextPolicy
from lilims.core.errors import ContextOverflowError, ExecutionError, TokensGoneError, UsageError
from lilims.runtime import contract
from lilims.runtime.errors import StateLostError
from lilims.runtime.session import Session, SessionSnapshot

from .fakes import CHUNK, CONTEXT, ROWS, VOCAB, FakeExecutor, logits_of, manifest_of, mixed

IDS = [(7 * i + 3) % 256 for i in range(CONTEXT)]


def session(executor: FakeExecutor, policy: ContextPolicy | None = None) -> Session:
    shape = replace(contract.decoder_shape(manifest_of(), package="p"), padded=executor.pads)
    return Session(executor, shape, VOCAB, policy=policy)


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


@pytest.mark.parametrize("count", [1, 2, CHUNK, CHUNK + 1, 22, 23, 24, 36, CONTEXT])
def test_a_prompt_that_nothing_is_padded_of(count: int) -> None:
    """Calls have more tokens than the function, as long as queries × rows are not more than its own: 22, 14, …"""
    executor = FakeExecutor(pads=False)
    one = session(executor)
    np.testing.assert_array_equal(one.append(IDS[:count]), expected(count))
    wanted = {1: ["decode"], 23: ["prefill", "decode"], 24: ["prefill"] * 2, 36: ["prefill"] * 2, 40: ["prefill"] * 3}
    assert executor.calls == wanted.get(count, ["prefill"])
    assert [len(part) for part in session(executor).score(IDS[:21])] == [8, 8, 5]  # logits of all are large


def test_a_prompt_where_rows_were_in_use_before() -> None:
    """An executor may show a call all rows that it has room for: those of a longer text before this one."""
    executor = FakeExecutor(pads=False)
    one = session(executor)
    one.append(IDS)
    one.reset()
    executor.calls.clear()
    assert one.piece == CHUNK * ROWS // CONTEXT == 12
    np.testing.assert_array_equal(one.append(IDS[:24]), expected(24))
    assert executor.calls == ["prefill"] * 2


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


# -- going back, copies, threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pads", [True, False], ids=["padded", "any-count"])
def test_any_sequence_of_appending_and_going_back(pads: bool) -> None:
    dice, one = random.Random(5), session(FakeExecutor(pads=pads))
    for _ in range(200):
        if one.position and dice.random() < 0.5:
            one.rewind(dice.randint(0, one.position))
        count = dice.randint(0, CONTEXT - one.position)
        if count:
            end = one.position + count
            np.testing.assert_array_equal(one.append(IDS[one.position : end]), expected(end))
            assert one.tokens == IDS[:end] and one.room == CONTEXT - end
    one.reset()
    assert (one.position, one.tokens) == (0, [])
    np.testing.assert_array_equal(one.append(IDS[:3]), expected(3))


@pytest.mark.parametrize("count", [-1, 6])
def test_going_back_further_than_there_is(count: int) -> None:
    one = session(FakeExecutor())
    one.append(IDS[:5])
    with pytest.raises(UsageError, match=f"cannot take back {count} of 5 tokens"):
        one.rewind(count)
    assert one.tokens == IDS[:5]


@pytest.mark.parametrize(
    ("same", "more", "kept"), [(0, 5, 0), (12, 1, 12), (12, 9, 12), (20, 5, 20), (20, 0, 19), (9, 0, 8)]
)
def test_advance_keeps_the_longest_prefix(same: int, more: int, kept: int) -> None:
    executor = FakeExecutor()
    one = session(executor)
    one.append(IDS[:20])
    wanted = IDS[:same] + [9] * more
    np.testing.assert_array_equal(one.advance(wanted), logits_of(mixed(wanted)))
    assert (one.tokens, one.reused) == (wanted, kept)


@pytest.mark.parametrize("ids", [[], [VOCAB], [1] * (CONTEXT + 1)], ids=["none", "unknown", "too-many"])
def test_advance_to_what_cannot_be_changes_nothing(ids: list[int]) -> None:
    one = session(FakeExecutor())
    one.append(IDS[:20])
    with pytest.raises((UsageError, ContextOverflowError)):
        one.advance(ids)
    np.testing.assert_array_equal(one.append(IDS[20:21]), expected(21))


def test_a_fork_goes_its_own_way() -> None:
    executor = FakeExecutor()
    one = session(executor)
    one.append(IDS[:10])
    two = one.fork()
    np.testing.assert_array_equal(two.append([9, 9]), logits_of(mixed([*IDS[:10], 9, 9])))
    np.testing.assert_array_equal(one.append(IDS[10:13]), expected(13))
    assert executor.states == 2


@pytest.mark.parametrize(
    "damage",
    [{"tokens": [1] * 9}, {"tokens": [VOCAB] * 10}, {"tokens": None}, {"policy": {"kind": "shift", "keep": 4}}],
    ids=["fewer", "unknown", "none", "policy"],
)
def test_a_snapshot_that_is_not_ones_own(damage: dict[str, object]) -> None:
    one = session(FakeExecutor())
    one.append(IDS[:10])
    taken = one.snapshot()
    with pytest.raises(UsageError):
        one.restore(SessionSnapshot({**taken.layout, **damage}, taken.rows, taken.state))
    with pytest.raises(UsageError):
        one.restore(SessionSnapshot(taken.layout, taken.rows, taken.state[:, :, :9]))
    np.testing.assert_array_equal(one.append(IDS[10:11]), expected(11))


def test_a_second_thread_is_refused() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(tokens: object) -> int:
        entered.set()
        leave.wait(60)
        return 5

    one = session(FakeExecutor(slow))
    thread = threading.Thread(target=one.append, args=([1],))
    thread.start()
    entered.wait(60)
    for use in (lambda: one.append([2]), one.reset, one.fork, lambda: next(one.score([2])), lambda: one.rewind(1)):
        with pytest.raises(UsageError, match="in use by another thread"):
            use()
    leave.set()
    thread.join()
    assert one.tokens == [1]


def test_scoring_that_is_interrupted_by_another_use() -> None:
    one = session(FakeExecutor())
    parts = one.score(IDS[:20])
    next(parts)
    one.append([9])
    with pytest.raises(UsageError, match="used otherwise"):
        next(parts)
    assert one.tokens == [*IDS[:CHUNK], 9]


# -- policies (their plans are tested in ws03, their quality in the integration suite) --------------------------------

LONG = [(7 * i * i + 3 * i) % 256 for i in range(5 * CONTEXT)]


def seen(policy: ContextPolicy, text: list[int]) -> np.ndarray:
    """What the fake decoder says of the visible tokens, which it takes in the order of their rows."""
    if policy.kind == "shift":
        held: list[int] = []
        for token in text:
            if len(held) == CONTEXT:
                held = held[: policy.keep] + held[len(held) - (CONTEXT - policy.keep) // 2 :]
            held.append(token)
        return logits_of(mixed(held))
    keep, end = policy.keep, len(text)
    places = [p for p in range(end) if p < keep or p >= end - (CONTEXT - keep)]
    row = {p: p if p < ROWS else keep + (p - keep) % (ROWS - keep) for p in places}
    return logits_of(mixed([text[p] for p in sorted(places, key=row.__getitem__)]))


POLICIES = {"rolling": ContextPolicy.rolling(), "sinks": ContextPolicy.sinks(), "shift": ContextPolicy.shift()}


@pytest.mark.parametrize("pads", [True, False], ids=["padded", "any-count"])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_text_longer_than_the_context(policy: ContextPolicy, pads: bool) -> None:
    one, dice = session(FakeExecutor(pads=pads), policy), random.Random(1)
    assert one.room is None
    while one.position < len(LONG) - CONTEXT:
        end = one.position + dice.choice([1, 1, 1, 2, CHUNK, 11, CONTEXT])
        np.testing.assert_array_equal(one.append(LONG[one.position : end]), seen(policy, LONG[:end]))
        if dice.random() < 0.3:  # what follows goes on in a copy
            one = one.fork()
        if dice.random() < 0.3:
            one.rewind(2)
    rows = np.concatenate(list(one.score(LONG[one.position :])))
    np.testing.assert_array_equal(rows[-1], seen(policy, LONG))
    np.testing.assert_array_equal(rows[-4], seen(policy, LONG[:-3]))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_advancing_a_long_text(policy: ContextPolicy) -> None:
    """What was dropped is run again where a text forks off too far back."""
    one = session(FakeExecutor(), policy)
    one.advance(LONG[:100])
    np.testing.assert_array_equal(one.advance(LONG[:102]), seen(policy, LONG[:102]))
    assert one.reused == 100
    np.testing.assert_array_equal(one.advance([*LONG[:99], 4]), seen(policy, [*LONG[:99], 4]))
    assert one.reused == 99
    other = [*LONG[:50], *range(60)]
    np.testing.assert_array_equal(one.advance(other), seen(policy, other))
    assert one.tokens == other
    assert one.reused == 0
    if policy.kind != "shift":
        with pytest.raises(TokensGoneError, match="overwritten"):
            one.rewind(80)


# -- an executor that loses the state --------------------------------------------------------------------------------


class Forgetful(FakeExecutor):
    """Loses all states at the calls whose numbers are in `poison`."""

    def function(self, name: str) -> Any:
        inner, owner = super().function(name), self

        class Function:
            def predict(self, inputs: Any, state: Any) -> dict[str, np.ndarray]:
                if len(owner.calls) + 1 in owner.poison:
                    owner.calls.append("lost")
                    raise StateLostError("gone")
                return inner.predict(inputs, state)

        return Function()


@pytest.mark.parametrize("policy", [ContextPolicy.error(), *POLICIES.values()], ids=["error", *POLICIES])
@pytest.mark.parametrize("lost", [1, 2, 3, 4, 7])
def test_a_lost_state_is_made_anew(policy: ContextPolicy, lost: int) -> None:
    executor, text = Forgetful(poison=frozenset({lost})), LONG[:38] if policy.kind == "error" else LONG[:150]
    one, at = session(executor, policy), 0
    while at < len(text):
        count = min(13, len(text) - at)
        got, at = one.append(text[at : at + count]), at + count
        np.testing.assert_array_equal(got, seen(policy, text[:at]))
    assert executor.calls.count("lost") == (lost <= len(executor.calls)) and one.tokens == text


def test_a_state_that_is_lost_again_and_again() -> None:
    executor = Forgetful()
    one = session(executor)
    one.append(IDS[:20])
    executor.poison = frozenset(range(1000))
    with pytest.raises(StateLostError):
        one.append(IDS[20:22])
    assert one.tokens == IDS[:20]
    executor.poison = frozenset()
    np.testing.assert_array_equal(one.append(IDS[20:22]), expected(22))
