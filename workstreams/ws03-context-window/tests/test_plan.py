"""Inputs of calls: names, shapes, dtypes, contents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lilims.context import (
    Call,
    Chunk,
    DecoderShape,
    RotaryParameters,
    StateRows,
    StepInputs,
    plan_calls,
    rotary_tables,
)
from lilims.context.plan import AT_ONCE

GLOBAL, LOCAL = RotaryParameters(rotary_dim=16, theta=1e6), RotaryParameters(rotary_dim=8)
FUNCTIONS = {"decode": 1, "prefill": 4, "score": 4}
GEMMA = DecoderShape(32, 64, FUNCTIONS, rotary=GLOBAL, local_rotary=LOCAL, local_window=3, padding=9)
NEO = DecoderShape(32, 64, FUNCTIONS, max_positions=32, local_window=5, mask_value=-5e3)
MISTRAL = DecoderShape(32, 64, FUNCTIONS, rotary=GLOBAL, window=6)
SHAPES = {"gemma": GEMMA, "neo": NEO, "mistral": MISTRAL}


BUCKETS = DecoderShape(
    32,
    64,
    {**FUNCTIONS, "decode_8": 1, "decode_16": 1, "prefill_8": 4},
    reads={"decode_8": 8, "decode_16": 16, "prefill_8": 8},
    local_window=3,
)


def causal(slot: int, size: int, rows: int, *, window: int | None, mask_value: float = -1e4) -> np.ndarray:
    """The mask of a text from row 0 on."""
    query, row = np.arange(slot, slot + size)[:, None], np.arange(rows)
    seen = (row <= query) & (row > query - min(window or rows, GEMMA.context))  # padding past the context sees less
    return np.where(seen, 0, mask_value).astype(np.float32)[None, None]


def filled(shape: DecoderShape, position: int = 0) -> StateRows:
    held = StateRows(shape.rows)
    held.positions[:position] = np.arange(position)
    return held


def expected(shape: DecoderShape, call: Call, ids: list[int]) -> dict[str, np.ndarray]:
    """The inputs by the contract's words, each computed on its own."""
    chunk = call.chunk
    positions = [chunk.slot + i for i in range(chunk.size)]
    want = {
        "input_ids": np.array([ids + [shape.padding] * (chunk.size - chunk.count)], np.int32),
        "slot": np.array([chunk.slot], np.int32),
        "attention_mask": causal(chunk.slot, chunk.size, shape.rows, window=shape.window, mask_value=shape.mask_value),
    }
    if shape.local_window is not None:
        want["local_attention_mask"] = causal(
            chunk.slot, chunk.size, shape.rows, window=shape.local_window, mask_value=shape.mask_value
        )
    if shape.rotary is not None:
        want["cos"], want["sin"] = rotary_tables(shape.rotary, positions)
    if shape.local_rotary is not None:
        want["local_cos"], want["local_sin"] = rotary_tables(shape.local_rotary, positions)
    if shape.max_positions is not None:
        want["positions"] = np.array([min(p, shape.max_positions - 1) for p in positions], np.int32)
    if call.function == "prefill":
        want["last"] = np.array([chunk.count - 1], np.int32)
    return want


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("logits", ["last", "all"])
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "any-count"])
def test_a_session_gets_the_inputs_of_the_contract(shape: DecoderShape, logits: str, padded: bool) -> None:
    shape = replace(shape, padded=padded)
    held, position = filled(shape), 0
    steps = StepInputs(shape, held)
    for turn in [6, 1, 1, 1, 5, 2, 1, 4, 1, 1, 9]:
        ids = list(range(100 + position, 100 + position + turn))
        for call in plan_calls(turn, position=position, shape=shape, need_logits_of=logits):  # type: ignore[arg-type]
            part = ids[call.chunk.slot - position :][: call.chunk.count]
            assert call.chunk.size == (shape.functions[call.function] if padded else len(part))
            got, want = steps.build(call, part), expected(shape, call, part)
            assert got.keys() == want.keys()
            for name, value in want.items():
                np.testing.assert_array_equal(got[name], value, err_msg=f"{name} of {call}")
                assert got[name].dtype == value.dtype and got[name].flags.c_contiguous, name
            held.begin(call.chunk)
            held.finish(call.chunk)
        position += turn
    assert position == shape.context


def test_the_length_of_dynamic_rules_is_the_context() -> None:
    rule = RotaryParameters(rotary_dim=8, kind="dynamic", factor=2.0, original_context=16)
    shape = DecoderShape(32, 64, FUNCTIONS, rotary=rule)
    for function, size in (("decode", 1), ("prefill", 4)):
        inputs = StepInputs(shape, filled(shape, 3)).build(Call(function, Chunk(3, 1, size)), [7])
        np.testing.assert_array_equal(inputs["cos"][:, :, :1], rotary_tables(rule, [3], length=32)[0])


def test_the_dict_is_new_and_the_arrays_of_decoding_are_not() -> None:
    steps = StepInputs(GEMMA, filled(GEMMA))
    first = steps.build(Call("decode", Chunk(0, 1, 1)), [1])
    first_mask = first.pop("attention_mask")  # as Core ML's predict, which changes the dict that it is given
    second = steps.build(Call("decode", Chunk(1, 1, 1)), [2])
    assert second["attention_mask"] is first_mask and second.keys() == first.keys() | {"attention_mask"}


@pytest.mark.parametrize(
    ("call", "ids"),
    [
        (Call("prefill", Chunk(0, 2, 4)), [1]),
        (Call("prefill", Chunk(0, 2, 3)), [1, 2]),
        (Call("prefill_512", Chunk(0, 2, 4)), [1, 2]),
    ],
    ids=str,
)
def test_tokens_that_are_not_the_calls_are_refused(call: Call, ids: list[int]) -> None:
    with pytest.raises(ValueError, match="are not the"):
        StepInputs(GEMMA, filled(GEMMA)).build(call, ids)


@pytest.mark.parametrize(("function", "padded"), [("prefill", True), ("score", True), ("score", False)])
def test_only_a_prompt_that_is_not_padded_has_more_tokens_than_its_function(function: str, padded: bool) -> None:
    shape = replace(GEMMA, padded=padded)
    with pytest.raises(ValueError, match="are not the"):
        StepInputs(shape, filled(shape)).build(Call(function, Chunk(0, 5, 5)), [1, 2, 3, 4, 5])


@pytest.mark.parametrize("rows", [64, 1056, 8320])
@pytest.mark.parametrize("size", [1, 4, 32])
def test_the_most_tokens_of_a_call(rows: int, size: int) -> None:
    shape = DecoderShape(rows - 32, rows, {"decode": 1, "prefill": size, "score": size}, padded=False)
    room = size * rows
    for position in range(0, rows + 8, 7):
        for reached in (0, position, rows // 2, rows):
            most, seen = shape.most("prefill", position, reached), max(position, reached)
            assert size <= most <= max(size, AT_ONCE)
            if most > size:
                assert position + most <= rows  # rows that hold nothing yet
                assert most * max(position + most, reached) <= room
            elif seen + size < rows:  # as many as there can be
                more = size + 1
                assert more > AT_ONCE or more * max(position + more, reached) > room or position + more > rows
            assert shape.most("score", position, reached) == size
    assert shape.most("decode", 5) == 1
    assert replace(shape, padded=True).most("prefill") == size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"functions": {}}, "functions of at least one token"),
        ({"functions": {"decode": 2}}, "decode takes one token"),
        ({"rows": 34}, "34 rows are too few"),
        ({"max_positions": 31}, "exceeds the 31 learned positions"),
    ],
    ids=str,
)
def test_a_shape_that_cannot_work_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecoderShape(**{"context": 32, "rows": 64, "functions": FUNCTIONS, **arguments})  # type: ignore[arg-type]


def functions_of(tokens: int, position: int, logits: str = "last") -> list[str]:
    calls = plan_calls(tokens, position=position, shape=BUCKETS, need_logits_of=logits)  # type: ignore[arg-type]
    return [call.function for call in calls]


@pytest.mark.parametrize(
    ("tokens", "position", "functions"),
    [
        (1, 0, ["decode_8"]),
        (1, 7, ["decode_8"]),
        (1, 8, ["decode_16"]),
        (1, 15, ["decode_16"]),
        (1, 16, ["decode"]),
        (8, 0, ["prefill_8", "prefill_8"]),
        (10, 0, ["prefill_8", "prefill_8", "prefill"]),
        (9, 0, ["prefill_8", "prefill_8", "decode_16"]),
        (4, 4, ["prefill_8"]),
        (4, 5, ["prefill"]),
        (3, 5, ["prefill_8"]),
    ],
)
def test_each_call_takes_the_smallest_bucket_that_holds_its_last_token(
    tokens: int, position: int, functions: list[str]
) -> None:
    assert functions_of(tokens, position) == functions


def test_scoring_has_no_buckets() -> None:
    assert functions_of(6, 0, "all") == ["score", "score"]


@pytest.mark.parametrize(("tokens", "position"), [(1, 3), (1, 12), (1, 20), (3, 0), (3, 5), (4, 20)])
def test_the_masks_of_a_bucket_are_the_first_columns(tokens: int, position: int) -> None:
    """Padding behind the bucket's last row has no column of its own; the state is written there all the same."""
    (call,) = plan_calls(tokens, position=position, shape=BUCKETS)
    inputs = StepInputs(BUCKETS, filled(BUCKETS, position)).build(call, list(range(tokens)))
    rows = BUCKETS.rows_read(call.function)
    for name, window in (("attention_mask", None), ("local_attention_mask", 3)):
        whole = causal(position, call.chunk.size, 64, window=window)
        assert inputs[name].shape == (1, 1, call.chunk.size, rows)
        assert inputs[name].flags.c_contiguous
        np.testing.assert_array_equal(inputs[name], whole[..., :rows])
    assert ("last" in inputs) == call.function.startswith("prefill")


@pytest.mark.parametrize(
    ("functions", "reads"),
    [
        (FUNCTIONS, {"decode_8": 8}),
        ({**FUNCTIONS, "decode_8": 1}, {"decode_8": 64}),
        ({**FUNCTIONS, "prefill_8": 8}, {"prefill_8": 8}),
        ({"decode": 1, "prefill_8": 8}, {"prefill_8": 8}),
    ],
    ids=["absent", "all-rows", "other-chunk", "no-base"],
)
def test_buckets_that_cannot_be(functions: dict[str, int], reads: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="cannot read|not as many as"):
        DecoderShape(32, 64, functions, reads)
