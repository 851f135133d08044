"""Images as inputs and outputs, in every colour space and with flexible sizes."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import UsageError
from lilims.runtime.portable import MLModel
from lilims.runtime.portable.images import read_image, write_image
from lilims.runtime.portable.spec import parse_model

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14


@pytest.fixture
def pillow() -> Any:
    return pytest.importorskip("PIL.Image")


@pytest.fixture
def convert(ct: Any, tmp_path: Path) -> Callable[..., Path]:
    """Saves a program whose features are images."""

    def write(program: Any, **features: Any) -> Path:
        path = tmp_path / "image.mlpackage"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ct.convert(program, source="milinternal", convert_to="mlprogram", minimum_deployment_target=ct.target.iOS16,
                       **features).save(str(path))  # fmt: skip
            gc.collect()
        return path

    return write


def identity(ct: Any, mb: Any, channels: int, height: Any = 2, width: Any = 3) -> Any:
    @mb.program(input_specs=[mb.TensorSpec((1, channels, height, width))], opset_version=ct.target.iOS16)
    def program(picture: Any) -> Any:
        return mb.mul(x=picture, y=np.float32(1), name="same")

    return program


@pytest.mark.parametrize("layout", ["RGB", "BGR"])
def test_colours(ct: Any, mb: Any, convert: Any, pillow: Any, layout: str) -> None:
    """The tensor has the layout's order of channels; PIL's images are RGB both ways."""
    path = convert(identity(ct, mb, 3), inputs=[ct.ImageType("picture", (1, 3, 2, 3), color_layout=layout)])
    found = MLModel(path).predict({"picture": pillow.fromarray(PIXELS)})["same"]
    planes = PIXELS.transpose(2, 0, 1)[None].astype(np.float32)
    assert np.array_equal(found, planes if layout == "RGB" else planes[:, ::-1])


def test_another_mode_is_converted(ct: Any, mb: Any, convert: Any, pillow: Any) -> None:
    path = convert(identity(ct, mb, 3), inputs=[ct.ImageType("picture", (1, 3, 2, 3), color_layout="RGB")])
    grey = pillow.fromarray(PIXELS[:, :, 0])
    found = MLModel(path).predict({"picture": grey})["same"]
    assert np.array_equal(found, np.repeat(PIXELS[None, None, :, :, 0], 3, 1))


def test_scale_and_bias_are_the_programs(ct: Any, mb: Any, convert: Any, pillow: Any) -> None:
    feature = ct.ImageType("picture", (1, 1, 2, 3), color_layout="G", scale=1 / 255, bias=-0.5)
    path = convert(identity(ct, mb, 1), inputs=[feature])
    found = MLModel(path, precision="exact").predict({"picture": pillow.fromarray(PIXELS[:, :, 1])})["same"]
    np.testing.assert_allclose(found[0, 0], PIXELS[:, :, 1] / 255 - 0.5, atol=2e-3)


@pytest.mark.parametrize("layout", ["RGB", "BGR", "G"])
def test_outputs(ct: Any, mb: Any, convert: Any, pillow: Any, layout: str) -> None:
    channels = 1 if layout == "G" else 3
    source = PIXELS[:, :, 0] if layout == "G" else PIXELS
    path = convert(
        identity(ct, mb, channels), inputs=[ct.ImageType("picture", (1, channels, 2, 3), color_layout=layout)]
    )
    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = parse_model(file.read_bytes(), where="test")  # what a converter of images writes for such an output
    spec.description.output[0].type.imageType.CopyFrom(spec.description.input[0].type.imageType)
    file.write_bytes(spec.SerializeToString())
    found = MLModel(path).predict({"picture": pillow.fromarray(source)})
    assert found["same"].mode == ("L" if layout == "G" else "RGB")
    assert np.array_equal(np.asarray(found["same"]), source)


def test_sizes(ct: Any, mb: Any, convert: Any, pillow: Any) -> None:
    from coremltools.converters.mil.mil import get_new_symbol

    shapes = {
        "range": ct.Shape((1, 3, ct.RangeDim(1, 4), ct.RangeDim(2, 5))),
        "enumerated": ct.EnumeratedShapes([(1, 3, 2, 3), (1, 3, 4, 5)]),
    }
    for shape in shapes.values():
        program = identity(ct, mb, 3, get_new_symbol(), get_new_symbol())
        model = MLModel(convert(program, inputs=[ct.ImageType("picture", shape, color_layout="RGB")]))
        for size in ((2, 3), (4, 5)):
            image = pillow.fromarray(np.full((*size, 3), 7, np.uint8))
            assert model.predict({"picture": image})["same"].shape == (1, 3, *size)
        with pytest.raises(UsageError, match=r"'picture' has shape \[1, 3, 9, 9\]"):
            model.predict({"picture": pillow.fromarray(np.zeros((9, 9, 3), np.uint8))})


def test_an_array_of_pixels_is_taken_too(ct: Any, mb: Any, convert: Any) -> None:
    path = convert(identity(ct, mb, 3), inputs=[ct.ImageType("picture", (1, 3, 2, 3), color_layout="RGB")])
    pixels = PIXELS.transpose(2, 0, 1)[None]
    assert np.array_equal(MLModel(path).predict({"picture": pixels})["same"], pixels)
    with pytest.raises(UsageError, match="shape"):
        MLModel(path).predict({"picture": PIXELS})


def test_values_that_are_no_bytes(pillow: Any) -> None:
    values = np.float32([-3, 0.4, 254.6, 300, np.nan, np.inf]).reshape(1, 1, 2, 3)
    assert np.asarray(write_image(values, 10, "x")).tolist() == [[0, 0, 255], [255, 0, 255]]
    floats = write_image(values, 40, "x")
    assert floats.mode == "F"
    assert np.array_equal(read_image(floats, 40), values, equal_nan=True)
