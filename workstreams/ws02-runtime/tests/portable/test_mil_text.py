"""Compiled models whose text was written by hand, in the style of what `coremlc` prints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import LilimsError, PackageError, UnsupportedError
from lilims.runtime.portable import MLModel, describe_package
from lilims.runtime.portable.mil_text import parse_program
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.program import Constant
from lilims.runtime.portable.reader import read_program

from .mil_samples import ENUMERATED, FLEXIBLE, LABELS, NESTED, NEW, OLD, RANGES, WEIGHT, weights, write_folder

INFO = '[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-version", "3404.23.1"}})]'


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a compiled folder."""
    return partial(write_folder, tmp_path)


# -- good text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_program_with_weights(folder: Any, end: str) -> None:
    model = MLModel(folder(OLD.replace("\n", end), weights(WEIGHT)), precision="exact")
    audio, state = np.float32([[1, 2, 3, 4]]), np.float32([[10, 20]])
    expected = (audio @ WEIGHT.T + np.float32([0.5, -3]))[:, ::-1]
    found = model.predict({"audio": audio, "state": state})
    np.testing.assert_array_equal(found["out"], expected)
    np.testing.assert_array_equal(found["new_state"], state + expected)


def test_functions_over_one_state(folder: Any) -> None:
    path = folder(NEW, metadata={"functions": [], "defaultFunctionName": "twice", "specificationVersion": 9})
    model = MLModel(path, function_name="decode")
    assert model.function_names == ("decode", "twice")
    assert MLModel(path).function_name == "twice"
    assert list(model.state_description) == ["total"]
    state = model.make_state()
    for _ in range(3):
        found = model.predict({"x": [[1, 2, 3]]}, state)
    assert np.array_equal(found["sum"], [[3, 6, 9]])
    assert np.array_equal(MLModel(path, function_name="twice").predict({"x": [[1, 1, 1]]}, state)["both"], [[5, 8, 11]])


@pytest.mark.parametrize(
    ("text", "good", "bad"), [(RANGES, (2, 3, 5), (1, 6)), (ENUMERATED, (2, 4), (3, 5))], ids=["ranges", "shapes"]
)
def test_shapes_and_defaults_of_the_signature(folder: Any, text: str, good: Any, bad: Any) -> None:
    model = MLModel(folder(text))
    for size in good:
        assert np.array_equal(model.predict({"x": np.ones((1, size), np.float32)})["z"], np.full((1, size), 3))
    for size in bad:
        with pytest.raises(LilimsError, match=rf"'x' has shape \[1, {size}\]"):
            model.predict({"x": np.ones((1, size), np.float32)})
    assert model.predict({"x": [[1, 2]], "y": [5]})["z"].tolist() == [[6, 7]]


def test_bodies_within_operations(folder: Any) -> None:
    assert MLModel(folder(NESTED)).predict({"x": [3]})["grown"].tolist() == [192]


def test_labels_and_escapes(folder: Any) -> None:
    found = MLModel(folder(LABELS), precision="exact").predict({"x": np.float32([[0, 3, 1]])})
    assert found["classLabel"] == "naïve\n"
    assert found["classLabel_probs"] == {'a "cat"': 0, "naïve\n": 3, "\\": 1}


def test_images_of_the_metadata(folder: Any) -> None:
    pillow = pytest.importorskip("PIL.Image")
    text = FLEXIBLE.replace("tensor<fp32, [1, ?]> x", "tensor<fp32, [1, 3, ?, ?]> x")
    text = text.replace("tensor<fp32, [1, ?]> z", "tensor<fp32, [1, 3, ?, ?]> z")
    text = text.replace("KIND", "list<tensor<int32, [2]>, ?>").replace("[1, 4]", "[1, 3, 2, 4]")
    text = text.replace("SHAPES", '"RangeDims", {{"x", [[1, 1], [3, 3], [2, 4], [1, 8]]}}')
    image = {
        "name": "x",
        "type": "Image",
        "width": "4",
        "height": "2",
        "colorspace": "BGR",
        "sizeRange": "[[1, 8], [2, 4]]",
    }
    model = MLModel(folder(text, metadata={"inputSchema": [image]}))
    pixels = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    found = model.predict({"x": pillow.fromarray(pixels), "y": [0]})["z"]
    assert np.array_equal(found, pixels.transpose(2, 0, 1)[None, ::-1])
    with pytest.raises(LilimsError, match="'x' has shape"):
        model.predict({"x": pillow.fromarray(np.zeros((5, 3, 3), np.uint8))})


def test_what_metadata_says_is_shown(folder: Any) -> None:
    said = {
        "specificationVersion": 8, "shortDescription": "s", "author": "a", "license": "l", "version": "7",
        "userDefinedMetadata": {"key": "value"}, "modelType": {"name": "MLModelType_mlProgram"},
        "outputSchema": [{"name": "out", "dataType": "Float32", "shape": "[1, 2]", "shortDescription": "probability"}],
    }  # fmt: skip
    path = folder(OLD, weights(WEIGHT), said)
    model, info = MLModel(path), describe_package(path)
    assert (model.short_description, model.author, model.license, model.version) == ("s", "a", "l", "7")
    assert model.user_defined_metadata == {"key": "value"}
    assert dict(model.output_description) == {"out": "probability", "new_state": ""}
    assert info.specification_version == 8
    assert [(g.scheme, g.parameters) for g in info.weights] == [("fp16", 8)]
    (function,) = info.functions
    assert function.opset == "CoreML7"
    assert function.ops == {"cast": 2, "add": 1, "concat": 1, "linear": 1, "split": 1}


LITERALS = {
    "fp16": ("tensor<fp16, [2, 2]>([[0x1p-24, 0x1.ff8p-15], [-inf, 65504]])",
             np.float16([[2**-24, 2**-14 - 2**-24], [-np.inf, 65504]])),
    "fp32": ("tensor<fp32, [3]>([1e-5, -0x1.8p-6, nan])", np.float32([1e-5, -1.5 / 64, np.nan])),
    "decimal is no hexadecimal": ("tensor<fp32, [2]>([10, 1.5])", np.float32([10, 1.5])),
    "scalar": ("fp32(0x1.f0a3d8p-1)", np.float32(0.97)),
    "old scalar": ("tensor<fp64, []>(0x1p-149)", np.float64(2**-149)),
    "int8": ("tensor<int8, [3]>([-128, 127, 0])", np.int8([-128, 127, 0])),
    "uint16": ("tensor<uint16, [2]>([0, 65535])", np.uint16([0, 65535])),
    "int64": ("tensor<int64, [1]>([-9223372036854775808])", np.int64([-(2**63)])),
    "int4": ("tensor<int4, [3]>([-8, 7, -1])", np.int8([-8, 7, -1])),
    "uint3": ("tensor<uint3, [2, 3]>([[7, 0, 5], [1, 2, 3]])", np.uint8([[7, 0, 5], [1, 2, 3]])),
    "bool": ("tensor<bool, [2]>([true, false])", np.array([True, False])),
    "empty": ("tensor<int32, [0]>([])", np.zeros(0, np.int32)),
    "empty rows": ("tensor<int32, [2, 0]>([[], []])", np.zeros((2, 0), np.int32)),
    "strings": (r'tensor<string, [2]>(["a, [b]", "\x41\u00e9"])', np.array(["a, [b]", "Aé"], object)),
    "list": ("list<int64, 2>([4, 5])", np.int64([4, 5])),
}  # fmt: skip


@pytest.mark.parametrize("name", LITERALS)
def test_literals(folder: Any, name: str) -> None:
    text, expected = LITERALS[name]
    kind = text.partition("(")[0]
    function = f"func main<ios18>() {{ {kind} v = const()[val = {text}]; }} -> (v);"
    program = parse_program(f"program(1.3) {INFO} {{ {function} }}", where="test")
    package = object.__new__(Package)
    package.members, package.spec_path, package.spec = (
        {},
        Path("test"),
        type(Package(folder(OLD)).spec)(mlProgram=program),
    )
    constant = read_program(package).functions["main"].ops[0].inputs["val"][0]
    assert isinstance(constant, Constant)
    found = constant.load()
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")


# -- folders that are something else -----------------------------------------------------------------------------------


def test_a_folder_under_another_name(folder: Any) -> None:
    model = MLModel(folder(OLD, weights(WEIGHT), name="plain"))
    assert list(model.input_description) == ["audio", "state"]


def test_the_text_or_the_weights_change(folder: Any) -> None:
    first = MLModel(folder(OLD, weights(WEIGHT)), precision="exact")
    inputs = {"audio": np.float32([[1, 0, 0, 0]]), "state": np.zeros((1, 2), np.float32)}
    assert first.predict(inputs)["out"].tolist() == [[-2, 0.5]]
    hashes = [Package(folder(OLD)).sha256()]
    second = MLModel(folder(OLD, weights(WEIGHT + 64)), precision="exact")
    assert second.predict(inputs)["out"].tolist() == [[62, 64.5]]
    hashes.append(Package(folder(OLD)).sha256())
    third = MLModel(folder(OLD.replace("0x1p-1", "0x1p+0")), precision="exact")
    assert third.predict(inputs)["out"].tolist() == [[62, 65]]
    assert len({*hashes, Package(folder(OLD.replace("0x1p-1", "0x1p+0"))).sha256()}) == 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("model.espresso.net", "model.espresso.weights"), r"neuralNetwork \(model.espresso.net\), not an ML Program"),
        (("model0/model.mil", "model1/model.mil"), "pipeline of several models"),
        (("coremldata.bin",), "no model.mil: it is no ML Program"),
        (("model.mil", "encryptionInfo"), "encrypted"),
    ],
    ids=["neural network", "pipeline", "other", "encrypted"],
)
def test_other_compiled_models_are_one_clear_line(tmp_path: Path, files: Any, message: str) -> None:
    path = tmp_path / "model.mlmodelc"
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("x")
    for read in (Package, MLModel, describe_package):
        with pytest.raises(UnsupportedError, match=message):
            read(path)


def test_a_pipeline_said_by_metadata(folder: Any) -> None:
    with pytest.raises(UnsupportedError, match="MLModelType_pipeline, not an ML Program"):
        Package(folder(OLD, metadata={"modelType": {"name": "MLModelType_pipeline"}}))


def test_weights_out_of_the_folder(folder: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(weights(WEIGHT))
    for name in ("@model_path/../secret.bin", "/etc/passwd", "@model_path//etc/passwd", "weights/weight.bin"):
        path = folder(OLD.replace("@model_path/weights/weight.bin", name), weights(WEIGHT))
        with pytest.raises(PackageError, match="leads out|is not relative"):
            MLModel(path)
    path = folder(OLD, weights(WEIGHT))
    (path / "weights" / "weight.bin").unlink()
    (path / "weights" / "weight.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(PackageError, match="link leads out"):
        MLModel(path)
