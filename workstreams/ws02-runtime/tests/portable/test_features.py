"""Inputs that are optional or of several shapes, in packages of coremltools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import UsageError
from lilims.runtime.portable import MLModel

Save = Callable[..., Path]


@pytest.fixture
def total(ct: Any, mb: Any, save: Save) -> Callable[..., MLModel]:
    """A model of x + 1, with the inputs that a case describes."""

    def build(rank: int, *features: Any) -> MLModel:
        from coremltools.converters.mil.mil import get_new_symbol

        specs = [mb.TensorSpec(tuple(get_new_symbol() for _ in range(rank)))]

        @mb.program(input_specs=specs, opset_version=ct.target.iOS18)
        def program(x: Any) -> Any:
            return mb.add(x=x, y=np.float32(1), name="y")

        return MLModel(save(main=program, inputs=list(features)))

    return build


def test_enumerated_shapes(ct: Any, total: Any) -> None:
    model = total(2, ct.TensorType("x", shape=ct.EnumeratedShapes([(1, 4), (2, 8)], default=(1, 4))))
    for shape in ((1, 4), (2, 8)):
        assert np.array_equal(model.predict({"x": np.zeros(shape)})["y"], np.ones(shape))
    with pytest.raises(UsageError, match=r"'x' has shape \[1, 8\], \[1, 4\] or \[2, 8\] is needed"):
        model.predict({"x": np.zeros((1, 8))})


def test_ranges(ct: Any, total: Any) -> None:
    model = total(2, ct.TensorType("x", shape=(ct.RangeDim(1, 3), ct.RangeDim(2, 50, default=2))))
    for shape in ((1, 2), (3, 50)):
        assert np.array_equal(model.predict({"x": np.zeros(shape)})["y"], np.ones(shape))
    with pytest.raises(UsageError, match=r"'x' has shape \[4, 2\], \[1..3, 2..50\] is needed"):
        model.predict({"x": np.zeros((4, 2))})


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_an_optional_input_has_its_default(ct: Any, mb: Any, save: Save, value: float) -> None:
    @mb.program(input_specs=[mb.TensorSpec((2, 3)), mb.TensorSpec((3,))], opset_version=ct.target.iOS18)
    def program(x: Any, bias: Any) -> Any:
        return mb.add(x=x, y=bias, name="y")

    given = [ct.TensorType("x", shape=(2, 3)),
             ct.TensorType("bias", shape=(3,), default_value=np.full((3,), value, np.float32))]  # fmt: skip
    model = MLModel(save(main=program, inputs=given))
    x = np.float32([[1, 2, 3], [4, 5, 6]])
    assert np.array_equal(model.predict({"x": x})["y"], x + np.float32(value))
    assert np.array_equal(model.predict({"x": x, "bias": [1, 2, 3]})["y"], x + np.float32([1, 2, 3]))
    with pytest.raises(UsageError, match="'x' is missing"):
        model.predict({"bias": [1, 2, 3]})
