"""The portable executor's states in rows of fp16: what is read can be written into another, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import UsageError
from lilims.runtime.executor import Precision
from lilims.runtime.portable import runnable
from lilims.runtime.ported import PortableExecutor

SHAPE = (4, 2, 8, 3)


@pytest.fixture
def executor(ct: Any, mb: Any, save: Callable[..., Path]) -> PortableExecutor:
    """kv_cache += x / 3, which is rounded to fp16."""
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[mb.TensorSpec(SHAPE, types.fp16), mb.StateTensorSpec(SHAPE, types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def main(x: Any, kv_cache: Any) -> Any:
        total = mb.add(x=mb.read_state(input=kv_cache), y=mb.mul(x=x, y=np.float16(1 / 3)))
        return mb.mul(x=mb.coreml_update_state(state=kv_cache, value=total), y=np.float16(1), name="total")

    return PortableExecutor(save(main=main), precision="exact", threads=1)


def test_rows_go_to_another_state_exactly(executor: PortableExecutor) -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    state, other = executor.make_state(), executor.make_state()
    function = executor.function("main")
    x = rng.standard_normal(SHAPE, np.float32)
    whole = function.predict({"x": x}, state)["total"]
    for rows in (0, 1, 5, 8):
        read = executor.read_state(state, rows)
        assert (read.shape, read.dtype) == ((4, 2, rows, 3), np.float16)
        np.testing.assert_array_equal(read.astype(np.float32), whole[:, :, :rows])
    executor.write_state(other, np.full(SHAPE, 2, np.float16))
    executor.write_state(other, executor.read_state(state, 5))
    np.testing.assert_array_equal(executor.read_state(other, 8)[:, :, 5:], 2)
    executor.write_state(other, executor.read_state(state, 8))
    np.testing.assert_array_equal(
        function.predict({"x": x}, other)["total"], function.predict({"x": x}, state)["total"]
    )


@pytest.mark.parametrize("precision", ["exact", "fp16"])
def test_rows_written_into_a_new_state_of_many(
    precision: Precision, ct: Any, mb: Any, save: Callable[..., Path]
) -> None:
    """More rows than a state has room for at first; the graph of "fp16" takes all of them."""
    from coremltools.converters.mil.mil import types

    shape = (2, 1, 288, 4)

    @mb.program(
        input_specs=[mb.TensorSpec((1, 1, 1, 4), types.fp16), mb.StateTensorSpec(shape, types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def main(x: Any, kv_cache: Any) -> Any:
        cache = mb.read_state(input=kv_cache)
        for pair in range(2):
            cache = mb.slice_update(x=cache, update=x, begin=[pair, 0, 5, 0], end=[pair + 1, 1, 6, 4])
            cache = mb.coreml_update_state(state=kv_cache, value=cache)
        return mb.mul(x=mb.slice_by_index(x=cache, begin=[0, 0, 0, 0], end=[1, 1, 8, 4]), y=np.float16(1), name="y")

    executor = PortableExecutor(save(main=main), precision=precision, threads=1)
    state = executor.make_state()
    executor.write_state(state, np.full((2, 1, 5, 4), 3, np.float16))
    y = executor.function("main").predict({"x": np.full((1, 1, 1, 4), 2, np.float32)}, state)["y"]
    np.testing.assert_array_equal(y[0, 0, :, 0], [3, 3, 3, 3, 3, 2, 0, 0])


def test_what_is_read_is_a_copy(executor: PortableExecutor) -> None:
    state = executor.make_state()
    executor.read_state(state, 8)[:] = 1
    assert not executor.read_state(state, 8).any()


@pytest.mark.parametrize("value", [65504.0, 5.96e-08, -0.0, np.inf], ids=str)
def test_the_edges_of_fp16(executor: PortableExecutor, value: float) -> None:
    state = executor.make_state()
    values = np.full(SHAPE, value, np.float16)
    executor.write_state(state, values)
    np.testing.assert_array_equal(executor.read_state(state, 8).view(np.uint16), values.view(np.uint16))


@pytest.mark.parametrize(
    "shape", [(4, 2, 9, 3), (2, 2, 5, 3), (4, 2, 5, 4), (4, 5, 3)], ids=["rows", "layers", "width", "rank"]
)
def test_values_that_do_not_fit(executor: PortableExecutor, shape: tuple[int, ...]) -> None:
    state = executor.make_state()
    with pytest.raises(UsageError, match="does not fit into a state of"):
        executor.write_state(state, np.ones(shape, np.float16))
    assert not executor.read_state(state, 8).any()
    with pytest.raises(UsageError, match="does not fit into a state of"):
        executor.read_state(state, 9)


def test_a_package_is_read_once(executor: PortableExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the state, for each function that is looked at, and for the one that runs."""
    read: list[Any] = []
    read_program = runnable.read_program
    monkeypatch.setattr(runnable, "read_program", lambda package: read.append(package) or read_program(package))
    assert executor.pads
    state = executor.make_state()
    executor.function("main").predict({"x": np.zeros(SHAPE, np.float32)}, state)
    executor.make_state()
    assert len(read) == 1
