"""Every policy against a naive float reference, over texts much longer than the context."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lilims.context import ContextPolicy, DecoderShape, RotaryParameters, open_window
from lilims.context.ring import sink_stride, trained_range
from lilims.core.errors import ContextOverflowError, TokensGoneError, UnsupportedError, UsageError

from .toy import VOCAB, Naive, Toy, causal

C, R, S = 20, 32, 8
FUNCTIONS = {"decode": 1, "prefill": S, "score": S, "decode_16": 1, "prefill_16": S}
READS = {"decode_16": 16, "prefill_16": 16}
ROTARY, LOCAL = RotaryParameters(rotary_dim=8, theta=100.0), RotaryParameters(rotary_dim=8, theta=30.0)
LONG = RotaryParameters(rotary_dim=8, theta=100.0, kind="llama3", factor=2.0, original_context=15,
                        low_freq_factor=1.0, high_freq_factor=4.0)  # fmt: skip
SHAPES = {
    "plain": DecoderShape(C, R, FUNCTIONS, READS, rotary=ROTARY),
    "sliding": DecoderShape(C, R, FUNCTIONS, READS, rotary=ROTARY, window=7),
    "gemma": DecoderShape(C, R, FUNCTIONS, READS, rotary=ROTARY, local_rotary=LOCAL, local_window=5),
    "wide-local": DecoderShape(C, R, FUNCTIONS, READS, rotary=ROTARY, local_rotary=LOCAL, local_window=18),
    "trained-longer": DecoderShape(C, R, FUNCTIONS, READS, rotary=LONG),
    "unaligned": DecoderShape(C, 27, {"decode": 1, "prefill": S, "score": S}, rotary=ROTARY),
    "one-by-one": DecoderShape(C, R, {"decode": 1}, rotary=ROTARY),
}
POLICIES = {
    "rolling": ContextPolicy.rolling(),
    "sinks": ContextPolicy.sinks(),
    "one-sink": ContextPolicy.sinks(1),
    "shift": ContextPolicy.shift(),
    "shift-all": ContextPolicy.shift(0),
}
TEXT = [random.Random(3).randrange(VOCAB) for _ in range(8 * C)]


def ring_places(shape: DecoderShape, policy: ContextPolicy) -> Callable[[int], dict[int, int]]:
    """What a query sees and where it stands, as the policy's words have it."""
    reach, limit, stride = shape.context - policy.keep, trained_range(shape), sink_stride(shape)

    def places(position: int) -> dict[int, int]:
        moved = 0
        while policy.keep and position - moved >= limit:
            moved += stride
        newest = {q: q for q in range(max(policy.keep, position - reach + 1), position + 1)}
        return {q: q + moved for q in range(min(policy.keep, position + 1))} | newest

    return places


def shifted(shape: DecoderShape, policy: ContextPolicy, text: list[int]) -> list[int]:
    """The tokens that are held when the text is done."""
    held: list[int] = []
    for token in text:
        if len(held) == shape.context:
            held = held[: policy.keep] + held[len(held) - (len(held) - policy.keep) // 2 :]
        held.append(token)
    return held


def by_definition(shape: DecoderShape, policy: ContextPolicy, text: list[int]) -> np.ndarray:
    """The logits of every token."""
    if policy.kind != "shift":
        naive = Naive(shape, ring_places(shape, policy))
        return np.stack([naive.step(token) for token in text])
    rows, held, naive = [], list[int](), Naive(shape, causal)
    for end in range(1, len(text) + 1):
        before, held = held, shifted(shape, policy, text[:end])
        if held[:-1] != before:
            naive = Naive(shape, causal)
        rows.append([naive.step(token) for token in held[len(naive.raw) :]][-1])
    return np.stack(rows)


_known: dict[tuple[str, str], np.ndarray] = {}


def expected(shape: str, policy: str) -> np.ndarray:
    if (shape, policy) not in _known:
        _known[shape, policy] = by_definition(SHAPES[shape], POLICIES[policy], TEXT)
    return _known[shape, policy]


def same(got: np.ndarray, want: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5, err_msg=what)  # the tables are float32


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "any-count"])
def test_a_long_text_in_pieces(shape: str, policy: str, padded: bool) -> None:
    want, window = expected(shape, policy), open_window(replace(SHAPES[shape], padded=padded), POLICIES[policy])
    toy, done, dice = Toy(window), 0, random.Random(len(shape) + len(policy))
    while done < len(TEXT):
        count = min(dice.choice([1, 1, 1, 2, S - 1, S, S + 1, 3 * S, C, 2 * C + 3]), len(TEXT) - done)
        need = dice.choice(["last", "all"])
        got = toy.run(TEXT[done : done + count], need)  # type: ignore[arg-type]
        done += count
        same(got, want[done - count : done] if need == "all" else want[done - 1 : done], f"{count} up to {done}")
        assert toy.window.tokens == TEXT[:done]


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "any-count"])
@pytest.mark.parametrize("policy", POLICIES)
def test_one_token_after_the_other_and_all_at_once(policy: str, padded: bool) -> None:
    want, shape = expected("gemma", policy), replace(SHAPES["gemma"], padded=padded)
    one, all_at_once = Toy(open_window(shape, POLICIES[policy])), Toy(open_window(shape, POLICIES[policy]))
    got = np.concatenate([one.run([token], "last") for token in TEXT])
    same(got, want, "by decode")
    same(all_at_once.run(TEXT, "last"), want[-1:], "by prefill")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", ["plain", "gemma", "sliding"])
def test_going_back(shape: str, policy: str) -> None:
    """Any number of tokens is taken back exactly, or refused and nothing changed."""
    want, dice = expected(shape, policy), random.Random(11)
    toy, refused, went = Toy(open_window(SHAPES[shape], POLICIES[policy])), 0, 0
    for _ in range(100):
        at = toy.window.position
        if at > 5 and dice.random() < 0.5:
            to = max(0, at - dice.choice([1, 2, 3, 5, S, 12, 19, 40]))
            possible = toy.window.rewinds_to(to)
            if possible:
                toy.window.rewind(to)
                went += at > R
            else:
                with pytest.raises(TokensGoneError, match=f"from {at} to {to} tokens"):
                    toy.window.rewind(to)
                refused += 1
            assert toy.window.tokens == TEXT[: to if possible else at]
        count = min(dice.choice([1, 2, 5, S, 11]), len(TEXT) - toy.window.position)
        if count:
            at = toy.window.position + count
            same(toy.run(TEXT[at - count : at], "last"), want[at - 1 : at], f"{count} up to {at}")
    assert went > 3
    assert refused or POLICIES[policy].kind == "shift" or shape == "sliding"


@pytest.mark.parametrize("policy", POLICIES)
def test_rejected_drafts_can_always_be_taken_back(policy: str) -> None:
    """A chunk that was scored on a full context, as verifying drafts does: the rows that it took were not needed."""
    want = expected("plain", policy)
    toy = Toy(open_window(SHAPES["plain"], POLICIES[policy]))
    for at in range(120):
        wrong = [(token + 1) % VOCAB for token in TEXT[at : at + 5]]
        toy.run(wrong, "all")
        toy.window.rewind(at)
        same(toy.run([TEXT[at]], "last"), want[at : at + 1], f"token {at}")


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "any-count"])
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_undoable_costs_nothing_when_it_is_taken_back(policy: str, padded: bool) -> None:
    """The next token then takes one call, and those that move sinks, as it would have without."""
    want, shape = expected("plain", policy), replace(SHAPES["plain"], padded=padded)
    toy, other = (Toy(open_window(shape, POLICIES[policy])) for _ in range(2))
    drafted = 0
    for at in range(C + 60 if policy != "error" else C - 1):
        count = toy.window.undoable
        wrong = [(token + 1) % VOCAB for token in TEXT[at : at + count]]
        if wrong:
            toy.run(wrong, "all")
            toy.window.rewind(at)
            drafted += len(wrong)
        toy.calls.clear(), other.calls.clear()
        same(toy.run([TEXT[at]], "last"), want[at : at + 1], f"token {at}")
        other.run([TEXT[at]], "last")
        assert len(toy.calls) <= len(other.calls), f"token {at}: {toy.calls}"
    assert drafted > 60


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("fails_at", range(1, 60, 9))
def test_a_call_that_fails_can_be_made_again(policy: str, fails_at: int) -> None:
    want, toy = expected("gemma", policy), Toy(open_window(SHAPES["gemma"], POLICIES[policy]))
    toy.fails_at = fails_at
    pieces, failures = [9, 14, 1, 1, 1, 30, 1, 8, 8, 50, 1, 1], 0
    for count in pieces:
        end = toy.window.position + count
        try:
            got = toy.run(TEXT[end - count : end], "last")
        except RuntimeError:
            failures += 1
            at = toy.window.position
            assert toy.window.tokens == TEXT[:at] and at < end
            got = toy.run(TEXT[at:end], "last")
        same(got, want[end - 1 : end], f"up to {end}")
    assert failures == 1 or len(toy.calls) < fails_at


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("length", [0, 3, C, C + 1, R, R + 5, 90])
def test_a_layout_brings_everything_back(policy: str, length: int) -> None:
    import json

    shape, want = SHAPES["gemma"], expected("gemma", policy)
    toy = Toy(open_window(shape, POLICIES[policy]))
    if length:
        toy.run(TEXT[:length], "last")
    layout, rows = json.loads(json.dumps(toy.window.layout())), toy.window.rows_used
    other = Toy(open_window(shape, POLICIES[policy]))
    other.run(TEXT[50:100], "last")  # to be forgotten
    other.window = open_window(shape, POLICIES[policy])
    other.window.restore(layout, rows)
    other.keys[:, :rows], other.values[:, :rows] = toy.keys[:, :rows], toy.values[:, :rows]
    for end in range(length + 1, length + 30):
        same(other.run([TEXT[end - 1]], "last"), want[end - 1 : end], f"token {end - 1}")


DAMAGE: dict[str, dict[str, object]] = {
    "tokens": {"tokens": "x"},
    "a-token": {"tokens": [1.5]},
    "policy": {"policy": {"kind": "error", "keep": 0}},
    "first": {"first": 49},
    "first-early": {"first": 1},
    "turned": {"turned": 1 << 40},
    "dropped": {"dropped": 3},
    "rows": {"rows": 10_000},
}


OF_ONE = {"first": "ring", "first-early": "ring", "turned": "ring", "dropped": "shift", "rows": "shift"}
CASES = [
    (policy, damage)
    for policy in ("rolling", "sinks", "shift")
    for damage in DAMAGE
    if OF_ONE.get(damage, "") in ("", "shift" if policy == "shift" else "ring")
]


@pytest.mark.parametrize(("policy", "damage"), CASES)
def test_a_damaged_layout_is_refused(policy: str, damage: str) -> None:
    toy = Toy(open_window(SHAPES["plain"], POLICIES[policy]))
    toy.run(TEXT[:50], "last")
    layout = toy.window.layout()
    assert DAMAGE[damage].keys() <= layout.keys()
    window = open_window(SHAPES["plain"], POLICIES[policy])
    with pytest.raises(UsageError, match="snapshot"):
        window.restore({**layout, **DAMAGE[damage]}, toy.window.rows_used)
    with pytest.raises(UsageError, match="snapshot"):
        window.restore(layout, toy.window.rows_used - 1)
    assert window.tokens == []


def test_sinks_move_seldom_and_by_one_token_calls() -> None:
    toy = Toy(open_window(SHAPES["plain"], POLICIES["sinks"]))
    for token in TEXT:
        toy.run([token], "last")
    moves = -(-(len(TEXT) - C) // sink_stride(SHAPES["plain"]))
    assert sink_stride(SHAPES["plain"]) == 5
    assert len(toy.calls) == len(TEXT) + 4 * moves


def test_a_long_prompt_with_shift_runs_only_what_is_kept() -> None:
    toy = Toy(open_window(SHAPES["plain"], POLICIES["shift"]))
    toy.run(TEXT, "last")
    assert len(toy.calls) <= C // S + 1


def test_functions_that_read_less_are_used_until_the_rows_go_round() -> None:
    toy = Toy(open_window(SHAPES["plain"], POLICIES["rolling"]))
    toy.run(TEXT[:14], "last")
    toy.run(TEXT[14:15], "last")
    assert toy.calls == ["prefill_16", "prefill_16", "decode_16"]
    toy.run(TEXT[15:40], "last")
    toy.calls.clear()
    toy.run(TEXT[40:50], "last")
    toy.run(TEXT[50:51], "last")
    assert set(toy.calls) == {"prefill", "decode"}


def test_the_policy_error_refuses_the_whole() -> None:
    toy = Toy(open_window(SHAPES["plain"]))
    toy.run(TEXT[:15], "last")
    with pytest.raises(ContextOverflowError, match="15 tokens in the context and 6 more do not fit into 20"):
        toy.run(TEXT[15:21], "last")
    assert toy.window.room == 5 and toy.window.position == 15
    assert open_window(SHAPES["plain"], ContextPolicy.rolling()).room is None


def test_learned_positions_can_only_shift() -> None:
    shape = DecoderShape(C, R, FUNCTIONS, max_positions=C)
    for policy in (ContextPolicy.rolling(), ContextPolicy.sinks()):
        with pytest.raises(UnsupportedError, match="needs rotary positions") as caught:
            open_window(shape, policy)
        assert "shift" in (caught.value.hint or "")
    window = open_window(shape, ContextPolicy.shift())
    for step in window.plan(list(range(3 * C)), "last"):
        inputs = window.inputs.build(step.call, step.ids)
        assert inputs["positions"].max() < C
        window.begin(step)
        window.finish(step)


@pytest.mark.parametrize("values", [("other", 0), ("rolling", 2), ("error", 1), ("sinks", 0), ("shift", -1)], ids=str)
def test_policies_that_cannot_be(values: tuple[str, int]) -> None:
    with pytest.raises(UsageError):
        ContextPolicy(*values)  # type: ignore[arg-type]


def test_policies_by_name() -> None:
    assert [ContextPolicy.named(name).keep for name in ("error", "rolling", "sinks", "shift")] == [0, 0, 4, 4]
    with pytest.raises(UsageError, match="'full' is not a context policy"):
        ContextPolicy.named("full")
    for policy in (ContextPolicy.sinks(C), ContextPolicy.shift(C - 1)):
        with pytest.raises(UsageError, match="cannot keep"):
            open_window(SHAPES["plain"], policy)
