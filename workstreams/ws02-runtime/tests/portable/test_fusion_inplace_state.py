"""States kept as rows and written in place, against the plain graph that copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError
from lilims.runtime.portable.program import Function, Ref

from .build import Fn, Runner

LAYERS, HEADS, ROWS, DIM, CHUNK = 2, 2, 8, 4, 3
SHAPE = (2 * LAYERS, HEADS, ROWS, DIM)


def begin_at(fn: Fn, row: int, slot: Any, extra: int = 0) -> Any:
    head = np.array([row, extra], np.int32)
    return fn.op(
        "concat",
        ("int32", (4,)),
        values=[fn.const(head), slot, fn.const(np.array([0], np.int32))],
        axis=0,
        interleave=False,
    )


def update(fn: Fn, value: Ref, row: int, slot: Any, new: Ref) -> Ref:
    """slice_update of one row, then a write and a read of the state."""
    end_slot = fn.op("add", ("int32", (1,)), x=slot, y=np.int32(CHUNK))
    ends = [fn.const(np.array([row + 1, HEADS], np.int32)), end_slot, fn.const(np.array([DIM], np.int32))]
    end = fn.op("concat", ("int32", (4,)), values=ends, axis=0, interleave=False)
    changed = fn.op("slice_update", ("fp16", SHAPE), x=value, update=new, begin=begin_at(fn, row, slot), end=end)
    fn.op("write_state", input=Ref("cache"), data=changed)
    return fn.op("read_state", ("fp16", SHAPE), input=Ref("cache"))


def row_of(fn: Fn, value: Ref, row: int, form: str) -> Ref:
    """A read of one row; "half" takes fewer positions, "squeezed" drops the first dimension."""
    last = ROWS // 2 if form == "half" else ROWS
    if form == "by size":
        return fn.op(
            "slice_by_size", ("fp16", (1, HEADS, ROWS, DIM)), x=value, begin=[row, 0, 0, 0], size=[1, -1, ROWS, DIM]
        )
    squeezed = form == "squeezed"
    shape = (HEADS, last, DIM) if squeezed else (1, HEADS, last, DIM)
    mask = np.array([squeezed, False, False, False])
    y = fn.op(
        "slice_by_index",
        ("fp16", shape),
        x=value,
        begin=[row, 0, 0, 0],
        end=[row + 1, HEADS, last, DIM],
        squeeze_mask=mask,
    )
    return fn.op("expand_dims", ("fp16", (1, *shape)), x=y, axes=np.array([0], np.int32)) if squeezed else y


def decoder(form: str = "by index") -> Function:
    """Writes every row, reads each after its write, adds them up: what a decoder does to its cache."""
    fn = Fn()
    fn.state("cache", SHAPE)
    slot, new = fn.input("slot", "int32", (1,)), fn.input("new", "fp16", (1, HEADS, CHUNK, DIM))
    value = fn.op("read_state", ("fp16", SHAPE), input=Ref("cache"))
    total, hidden = None, new
    for row in range(SHAPE[0]):
        value = update(fn, value, row, slot, hidden)
        hidden = fn.op("mul", ("fp16", (1, HEADS, CHUNK, DIM)), x=hidden, y=np.float32(1.37))
        read = row_of(fn, value, row, form)
        width = ROWS // 2 if form == "half" else ROWS
        total = read if total is None else fn.op("add", ("fp16", (1, HEADS, width, DIM)), x=total, y=read)
    assert total is not None
    return fn.function(fn.op("mul", ("fp16", (1, HEADS, width, DIM)), x=total, y=np.float32(1)))


def feeds(turn: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(turn)
    slot = np.array([turn % (ROWS - CHUNK + 1)], np.int32)
    return {"slot": slot, "new": rng.normal(size=(1, HEADS, CHUNK, DIM)).astype(np.float32)}


@pytest.mark.parametrize("precision", ["exact", "fast", "fp16"])
@pytest.mark.parametrize("form", ["by index", "by size", "squeezed", "half"])
def test_rows_in_place_are_the_plain_state(form: str, precision: Any) -> None:
    fused, plain = Runner(decoder(form), precision), Runner(decoder(form), precision, fused=False)
    assert "slice_update" not in fused.op_types
    assert {slot.row for slot in fused.graph.slots} == set(range(SHAPE[0]))
    buffer = fused.states.whole("cache")
    for turn in range(7):
        found, expected = fused(**feeds(turn))[0], plain(**feeds(turn))[0]
        assert np.array_equal(found, expected), f"turn {turn}"
        assert np.array_equal(buffer, plain.states.whole("cache")), f"turn {turn}"
    assert np.array_equal(buffer, buffer.astype(np.float16))


def test_no_node_copies_the_state() -> None:
    nodes = Runner(decoder()).nodes
    assert nodes.count("TensorScatter") == SHAPE[0]
    assert "ScatterND" not in nodes
    assert "Slice" not in nodes  # a whole row is read where it lies


def test_results_outlive_the_next_call() -> None:
    """An output that were a view of the cache would change under the caller's hands."""
    run = Runner(decoder())
    first = run(**feeds(0))[0]
    kept = first.copy()
    run(**feeds(1))
    assert np.array_equal(first, kept)


def test_a_slot_beyond_the_last_row_is_one_error() -> None:
    run = Runner(decoder())
    with pytest.raises(ExecutionError, match="exceeds max_sequence_length"):
        run(slot=np.array([ROWS - 1], np.int32), new=feeds(0)["new"])


def forbidden(why: str) -> Function:
    """Programs in which a shared buffer would be seen at the wrong time, or that use the state in another way."""
    fn = Fn()
    fn.state("cache", SHAPE)
    slot, new = fn.input("slot", "int32", (1,)), fn.input("new", "fp16", (1, HEADS, CHUNK, DIM))
    row = (1, HEADS, ROWS, DIM)
    old = fn.op("read_state", ("fp16", SHAPE), input=Ref("cache"))
    outputs = []
    if why == "old row read before":
        outputs.append(fn.op("mul", ("fp16", row), x=row_of(fn, old, 0, "by index"), y=np.float32(1)))
    value = update(fn, old, 0, slot, new)
    if why == "stale row":
        outputs.append(fn.op("mul", ("fp16", row), x=row_of(fn, old, 0, "by index"), y=np.float32(1)))
    elif why == "stale chain":  # the second write starts from the first read: the first write is lost
        value = update(fn, old, 1, slot, new)
    elif why == "row twice":
        value = update(fn, value, 0, slot, fn.op("mul", ("fp16", (1, HEADS, CHUNK, DIM)), x=new, y=np.float32(2)))
    elif why == "whole state used":
        outputs.append(fn.op("reduce_sum", ("fp16", (1, 1, 1, 1)), x=value, axes=[0, 1, 2, 3], keep_dims=True))
    elif why == "state is an output":
        outputs.append(value)
    elif why == "row computed":
        chosen = fn.op(
            "concat", ("int32", (4,)), values=[slot, fn.const(np.zeros(3, np.int32))], axis=0, interleave=False
        )
        outputs.append(fn.op("slice_by_size", ("fp16", row), x=value, begin=chosen, size=[1, HEADS, ROWS, DIM]))
    elif why == "never written":
        lost = fn.op(
            "slice_update", ("fp16", SHAPE), x=value, update=new, begin=begin_at(fn, 2, slot), end=[3, HEADS, ROWS, DIM]
        )
        outputs.append(row_of(fn, lost, 0, "half"))
    elif why == "two rows at once":
        y = fn.op("slice_by_size", ("fp16", (2, HEADS, ROWS, DIM)), x=value, begin=[0, 0, 0, 0], size=[2, -1, -1, -1])
        outputs.append(fn.op("mul", ("fp16", (2, HEADS, ROWS, DIM)), x=y, y=np.float32(1)))
    outputs.append(fn.op("mul", ("fp16", row), x=row_of(fn, value, 1, "by index"), y=np.float32(1)))
    return fn.function(*outputs)


@pytest.mark.parametrize(
    "why",
    [
        "old row read before",
        "stale row",
        "stale chain",
        "row twice",
        "whole state used",
        "state is an output",
        "row computed",
        "never written",
        "two rows at once",
    ],
)
def test_what_a_shared_buffer_would_break_stays_plain(why: str) -> None:
    function = forbidden(why)
    fused, plain = Runner(function), Runner(function, fused=False)
    assert not any(op.startswith("lilims.") for op in fused.op_types)
    for turn in range(3):
        feed = feeds(turn) if why != "row computed" else {**feeds(turn), "slot": np.array([turn], np.int32)}
        for found, expected in zip(fused(**feed), plain(**feed), strict=True):
            assert np.array_equal(found, expected)
        assert np.array_equal(fused.states.whole("cache"), plain.states.whole("cache"))
    rows = {i for i in range(SHAPE[0]) if plain.states.whole("cache")[i].any()}
    assert rows == ({1} if why == "stale chain" else {0})
