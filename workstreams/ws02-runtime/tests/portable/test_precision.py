"""The three precisions: what rounds, and who is told when it overflows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.runtime.portable import MLModel

from .build import Fn, Runner


@pytest.fixture
def squares(ct: Any, mb: Any, save: Callable[..., Path]) -> Path:
    """sqrt(x · x) + 1: overflows on the way where |x| > 255."""
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[mb.TensorSpec((4,), types.fp16), mb.TensorSpec((4,), types.fp16)], opset_version=ct.target.iOS18
    )
    def program(x: Any, mask: Any) -> Any:
        root = mb.sqrt(x=mb.mul(x=x, y=x, name="square"), name="root")
        return mb.add(x=root, y=mask, name="masked"), mb.select(
            cond=[True, False, True, False], a=root, b=np.full(4, -np.inf, np.float16), name="chosen"
        )

    return save(main=program)


ZERO = np.zeros(4, np.float32)


def test_overflow_is_reported_where_it_starts(squares: Path) -> None:
    model = MLModel(squares, precision="fp16")
    found = model.predict({"x": [1, 2, 300, 4], "mask": ZERO})
    assert found["masked"].tolist() == [1, 2, np.inf, 4]
    assert model.overflows == ["square"]  # root and masked only pass it on
    model.predict({"x": [1, 2, 3, 4], "mask": ZERO})
    assert model.overflows == []


def test_infinities_that_were_put_in_are_no_overflow(squares: Path) -> None:
    model = MLModel(squares, precision="fp16")
    found = model.predict({"x": [1, 2, 3, 4], "mask": [-np.inf, 0, 0, 0]})
    assert found["masked"].tolist() == [-np.inf, 2, 3, 4]
    assert found["chosen"].tolist() == [1, -np.inf, 3, -np.inf]
    assert model.overflows == []


@pytest.mark.parametrize("precision", ["fast", "exact"])
def test_float32_does_not_overflow(squares: Path, precision: Any) -> None:
    model = MLModel(squares, precision=precision)
    assert model.predict({"x": [1, 2, 300, 4], "mask": ZERO})["masked"].tolist() == [1, 2, 300, 4]
    assert model.overflows == []


@pytest.mark.parametrize("precision", ["fast", "exact", "fp16"])
def test_fp16_inputs_are_rounded_in_every_precision(squares: Path, precision: Any) -> None:
    found = MLModel(squares, precision=precision).predict({"x": [0.1, 2, 3, 4], "mask": ZERO})
    expected = float(np.float16(0.1))
    assert found["masked"][0] == pytest.approx(expected, abs=1e-4 if precision == "fp16" else 1e-7)
    assert found["masked"][0] != pytest.approx(0.1, abs=1e-6)


def test_fp16_rounds_after_every_op() -> None:
    fn = Fn()
    x = fn.input("x", "fp16", (3,))
    third = fn.op("mul", ("fp16", (3,)), x=x, y=np.float16(1 / 3))
    y = fn.op("add", ("fp16", (3,)), x=third, y=np.float16(1000))
    feed = np.array([1, 10, 100], np.float32)
    step = (feed.astype(np.float16) * np.float16(1 / 3)).astype(np.float16)
    expected = (step + np.float16(1000)).astype(np.float16).astype(np.float32)
    assert np.array_equal(Runner(fn.function(y), "fp16")(x=feed)[0], expected)
    exact = feed * np.float32(np.float16(1 / 3)) + np.float32(1000)
    assert np.allclose(Runner(fn.function(y), "exact")(x=feed)[0], exact, rtol=1e-7)
    assert not np.array_equal(exact, expected)


def test_fp32_values_are_not_rounded_in_fp16() -> None:
    fn = Fn()
    x = fn.input("x", "fp32", (1,))
    y = fn.op("mul", ("fp32", (1,)), x=x, y=np.float32(1 / 3))
    assert Runner(fn.function(y), "fp16")(x=np.ones(1, np.float32))[0].item() == np.float32(1 / 3)


def test_underflow_is_reported_with_its_share() -> None:
    """A quarter of the nonzero squares is below half of 2⁻²⁴, fp16's least number; zeros are nothing to lose."""
    fn = Fn()
    x = fn.input("x", "fp16", (6,))
    y = fn.op("mul", ("fp16", (6,)), x=x, y=x)
    runner = Runner(fn.function(y), "fp16")
    feeds = {"x": np.array([0, 1e-4, 1e-2, 1, 2, 0], np.float32)}
    results, (overflow, underflow) = runner.executable.run(feeds, runner.states)
    assert results[0][1] == 0
    assert overflow.tolist() == [0.0]
    assert underflow.tolist() == [0.25]


def test_a_model_names_the_ops_that_underflow(squares: Path) -> None:
    model = MLModel(squares, precision="fp16")
    model.predict({"x": [1e-5, 2, 1e-5, 4], "mask": ZERO})
    assert model.underflows == {"square": 0.5}
    model.predict({"x": [1, 2, 3, 4], "mask": ZERO})
    assert model.underflows == {}
