"""States: what a program reads, writes and leaves behind."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import LilimsError, PackageError, UsageError
from lilims.core.testing import interrupted
from lilims.runtime.portable import MLModel, MLState
from lilims.runtime.portable.buffers import StateBuffers
from lilims.runtime.portable.plan import Slot
from lilims.runtime.portable.program import TensorType

from .build import Fn, Runner

SHAPE = (2, 3)


@pytest.fixture
def counter(ct: Any, mb: Any) -> Any:
    """state += x; returns the new content."""
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[mb.StateTensorSpec(SHAPE, types.fp16), mb.TensorSpec(SHAPE, types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(acc: Any, x: Any) -> Any:
        total = mb.add(x=mb.read_state(input=acc), y=x)
        return mb.mul(x=mb.coreml_update_state(state=acc, value=total), y=np.float16(1), name="total")

    return program


@pytest.fixture
def stale(ct: Any, mb: Any) -> Any:
    """Reads, writes, reads again; returns both reads, the first one after the write."""
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[mb.StateTensorSpec(SHAPE, types.fp16), mb.TensorSpec(SHAPE, types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(acc: Any, x: Any) -> Any:
        before = mb.read_state(input=acc)
        after = mb.coreml_update_state(state=acc, value=mb.add(x=before, y=x))
        return mb.mul(x=before, y=np.float16(1), name="before"), mb.mul(x=after, y=np.float16(1), name="after")

    return program


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_a_state_outlives_the_call(save: Callable[..., Path], counter: Any, fused: bool) -> None:
    model = MLModel(save(main=counter), fused=fused)
    state, other = model.make_state(), model.make_state()
    x = np.arange(6, dtype=np.float32).reshape(SHAPE)
    for turn in (1, 2, 3):
        assert np.array_equal(model.predict({"x": x}, state)["total"], turn * x)
    assert np.array_equal(state.read_state("acc"), 3 * x)
    assert not other.read_state("acc").any()


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_a_stale_read_stays_stale(save: Callable[..., Path], stale: Any, fused: bool) -> None:
    model = MLModel(save(main=stale), fused=fused)
    state = model.make_state()
    x = np.full(SHAPE, 2, np.float32)
    state.write_state("acc", 10 * x)
    found = model.predict({"x": x}, state)
    assert np.array_equal(found["before"], 10 * x)
    assert np.array_equal(found["after"], 11 * x)
    assert np.array_equal(state.read_state("acc"), 11 * x)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_writes_round_to_fp16(save: Callable[..., Path], counter: Any, fused: bool) -> None:
    model = MLModel(save(main=counter), precision="exact", fused=fused)
    state = model.make_state()
    state.write_state("acc", np.full(SHAPE, 2048, np.float32))
    model.predict({"x": np.ones(SHAPE, np.float32)}, state)
    assert np.array_equal(state.read_state("acc"), np.full(SHAPE, 2048))  # 2049 is no fp16 number
    state.write_state("acc", np.full(SHAPE, 0.1))
    assert np.array_equal(state.read_state("acc"), np.full(SHAPE, np.float16(0.1), np.float32))


def test_one_state_serves_several_functions(save: Callable[..., Path], counter: Any, stale: Any) -> None:
    path = save(add=counter, both=stale)
    add, both = MLModel(path), MLModel(path, "both")
    assert add.function_name == "add"
    x = np.ones(SHAPE, np.float32)
    state = both.make_state()
    add.predict({"x": x}, state)
    found = both.predict({"x": x}, state)
    assert (found["before"][0, 0], found["after"][0, 0]) == (1, 2)
    assert np.array_equal(add.predict({"x": x}, state)["total"], 3 * x)


def test_calls_on_one_state_take_turns(save: Callable[..., Path], counter: Any) -> None:
    model = MLModel(save(main=counter), threads=1)
    state = model.make_state()
    x = np.ones(SHAPE, np.float32)

    def work() -> None:
        for _ in range(50):
            model.predict({"x": x}, state)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert np.array_equal(state.read_state("acc"), 200 * x)


def test_wrong_states_are_refused(save: Callable[..., Path], counter: Any) -> None:
    model = MLModel(save(main=counter))
    x = np.ones(SHAPE, np.float32)
    with pytest.raises(UsageError, match="'main' needs a state"):
        model.predict({"x": x})
    other = MLState(StateBuffers({"acc": TensorType("fp16", (9, 3))}))
    with pytest.raises(UsageError, match="the state given has no 'acc' of fp16 \\[2, 3\\]"):
        model.predict({"x": x}, other)
    state = model.make_state()
    with pytest.raises(UsageError, match="there is no state 'cache'"):
        state.read_state("cache")
    with pytest.raises(UsageError, match="has shape \\[2, 3\\], not \\[3, 2\\]"):
        state.write_state("acc", np.zeros((3, 2)))
    with pytest.raises(UsageError, match="cannot share one state"):
        model.predict([{"x": x}], state)


def test_a_dropped_state_is_freed(save: Callable[..., Path], counter: Any) -> None:
    model = MLModel(save(main=counter))
    state = model.make_state()
    model.predict({"x": np.ones(SHAPE, np.float32)}, state)
    buffer = weakref.ref(state._buffers.whole("acc"))
    del state
    gc.collect()
    assert buffer() is None


@pytest.mark.parametrize("shape", [(1 << 40, 1 << 20), (2, None)], ids=["absurd", "flexible"])
def test_states_that_cannot_be(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(LilimsError, match="the state 'acc'"):
        StateBuffers({"acc": TensorType("fp16", shape)})


@pytest.mark.parametrize("change", ["grow", "whole"])
def test_an_interrupted_change_loses_nothing(change: str) -> None:
    """Ctrl-C at every line of it: the content stays, and the next call finds rows of one length."""
    for line in count(1):
        buffers = StateBuffers({"acc": TensorType("fp16", (4, 2, 1024, 3))})
        values = np.random.default_rng(line).standard_normal((4, 2, 100, 3), np.float32)
        buffers.reserve("acc", 2, 100)
        buffers.write("acc", 2, values)
        version = buffers.version

        def work(buffers: StateBuffers = buffers) -> None:
            buffers.reserve("acc", 2, 600) if change == "grow" else buffers.whole("acc")

        done = not interrupted(line, work, "buffers.py")
        held = buffers.reserve("acc", 2, 120)
        parts = [buffers.part(Slot("acc", row, "", None)) for row in range(4)]
        assert {part.shape for part in parts} == {(1, 2, held, 3)}, f"line {line}"
        assert held == 256 or version != buffers.version, f"line {line}"  # else calls go on in the old buffers
        assert np.array_equal(buffers.read("acc", 2, 100), values), f"line {line}"
        if done:
            return


def test_what_is_written_must_fit() -> None:
    fn = Fn()
    state, x = fn.state("acc", (2, 3)), fn.input("x", "fp16", (3,))
    fn.op("write_state", input=state, data=x)
    with pytest.raises(PackageError, match="is written to a state of"):
        Runner(fn.function(x), fused=False)
    other = Fn()
    x = other.input("x", "fp16", (3,))
    y = other.op("read_state", ("fp16", (3,)), input=x)
    with pytest.raises(PackageError, match="'input' of read_state is not a state"):
        Runner(other.function(y), fused=False)


def test_a_state_that_is_only_read_or_only_written() -> None:
    fn = Fn()
    old, new, x = fn.state("old", (2,)), fn.state("new", (2,)), fn.input("x", "fp16", (2,))
    y = fn.op("add", ("fp16", (2,)), x=fn.op("read_state", ("fp16", (2,)), input=old), y=x)
    fn.op("coreml_update_state", ("fp16", (2,)), state=new, value=y)
    run = Runner(fn.function(y))
    run.states.whole("old")[:] = 5
    assert np.array_equal(run(x=np.array([1, 2], np.float32))[0], [6, 7])
    assert run.states.whole("new").tolist() == [6, 7]
    assert run.states.whole("old").tolist() == [5, 5]
