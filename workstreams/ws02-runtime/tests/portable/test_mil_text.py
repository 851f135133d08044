"""Compiled models whose text was written by hand, in the style of what `coremlc` prints; and text that is damaged."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
from collections.abc import Callable
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

INFO = '[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-version", "3404.23.1"}})]'

OLD = """program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-component-MIL", "3405.2.1"}, {"coremlc-version", "3404.23.1"}})]
{
    func main<ios17>(tensor<fp32, [1, 4]> audio, tensor<fp32, [1, 2]> state) {
            tensor<string, []> to_fp16_dtype_0 = const()[name = tensor<string, []>("to_fp16_dtype_0"), val = tensor<string, []>("fp16")];
            tensor<fp16, [1, 4]> audio_to_fp16 = cast(dtype = to_fp16_dtype_0, x = audio)[name = tensor<string, []>("cast_0")];
            tensor<fp16, [2, 4]> weight = const()[name = tensor<string, []>("weight"), val = tensor<fp16, [2, 4]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(64)))];
            tensor<fp16, [2]> bias = const()[name = tensor<string, []>("bias"), val = tensor<fp16, [2]>([0x1p-1, -0x1.8p+1])];
            tensor<fp16, [1, 2]> linear_0 = linear(bias = bias, weight = weight, x = audio_to_fp16)[name = tensor<string, []>("linear_0")];
            tensor<int32, [2]> split_sizes_0 = const()[name = tensor<string, []>("split_sizes_0"), val = tensor<int32, [2]>([1, 1])];
            tensor<int32, []> axis_0 = const()[name = tensor<string, []>("axis_0"), val = tensor<int32, []>(-1)];
            tensor<fp16, [1, 1]> halves_0, tensor<fp16, [1, 1]> halves_1 = split(axis = axis_0, split_sizes = split_sizes_0, x = linear_0)[name = tensor<string, []>("halves")];
            tensor<bool, []> interleave_0 = const()[name = tensor<string, []>("interleave_0"), val = tensor<bool, []>(false)];
            tensor<fp16, [1, 2]> swapped = concat(axis = axis_0, interleave = interleave_0, values = (halves_1, halves_0))[name = tensor<string, []>("swapped")];
            tensor<string, []> to_fp32_dtype_0 = const()[name = tensor<string, []>("to_fp32_dtype_0"), val = tensor<string, []>("fp32")];
            tensor<fp32, [1, 2]> out = cast(dtype = to_fp32_dtype_0, x = swapped)[name = tensor<string, []>("cast_1")];
            tensor<fp32, [1, 2]> new_state = add(x = state, y = out)[name = tensor<string, []>("new_state")];
        } -> (out, new_state);
}"""  # noqa: E501

NEW = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-component-MIL", "3520.4.1"}, {"coremlc-version", "3520.5.1"}})]
{
    func decode<ios18>(state<tensor<fp16, [1, 3]>> total, tensor<fp16, [1, 3]> x) {
            tensor<fp16, [1, 3]> before = read_state(input = total)[name = string("before")];
            tensor<fp16, [1, 3]> after = add(x = before, y = x)[name = string("after")];
            write_state(data = after, input = total)[name = string("total_write_state")];
            tensor<fp16, [1, 3]> sum = read_state(input = total)[name = string("sum")];
        } -> (sum);
    func twice<ios18>(state<tensor<fp16, [1, 3]>> total, tensor<fp16, [1, 3]> x) {
            fp16 two = const()[name = string("two"), val = fp16(0x1p+1)];
            tensor<fp16, [1, 3]> now = read_state(input = total);
            tensor<fp16, [1, 3]> doubled = mul(x = x, y = two);
            tensor<fp16, [1, 3]> both = add(x = doubled, y = now);
        } -> (both);
}
"""
FLEXIBLE = """program(1.3)
[buildInfo = dict<string, string>({})]
{
    func main<ios17>(tensor<fp32, [1, ?]> x, tensor<fp32, [1]> y) [CoreML_InputDefaultValues = dict<string, fp32>({{"y", 0x1p+1}}), FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, KIND>>>((("DefaultShapes", {{"x", [1, 4]}}), (SHAPES)))] {
            tensor<fp32, [1, ?]> z = add(x = x, y = y);
        } -> (z);
}"""  # noqa: E501

NESTED = """program(1.3)
[buildInfo = dict<string, string>({})]
{
    func main<ios17>(tensor<fp32, [1]> x) {
            fp32 limit = const()[val = fp32(0x1.9p+6)];
            tensor<fp32, [1]> grown = while_loop(loop_vars = (x)) cond(tensor<fp32, [1]> a) {
                tensor<bool, [1]> less_0 = less(x = a, y = limit);
                bool going = squeeze(x = less_0);
            } -> (going) body(tensor<fp32, [1]> b) {
                tensor<fp32, [1]> doubled = add(x = b, y = b);
            } -> (doubled);
        } -> (grown);
}"""

LABELS = r"""program(1.3)
[buildInfo = dict<string, string>({})]
{
    func main<ios16>(tensor<fp32, [1, 3]> x) {
            list<string, 3> names = const()[val = list<string, 3>(["a \"cat\"", "naïve\n", "\\"])];
            string classLabel, dict<string, fp32> classLabel_probs = classify(classes = names, probabilities = x);
        } -> (classLabel, classLabel_probs);
}"""


def weights(*arrays: Any) -> bytes:
    """A blob file of fp16 arrays; the first record lies at 64."""
    data = struct.pack("<II", len(arrays), 2).ljust(64, b"\0")
    for array in arrays:
        raw = np.asarray(array, np.float16).tobytes()
        record = struct.pack("<IIQQQ", 0xDEADBEEF, 1, len(raw), len(data) + 64, 0).ljust(64, b"\0")
        data += record + raw.ljust(-(-len(raw) // 64) * 64, b"\0")
    return data


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a compiled folder."""

    def write(text: str | bytes, blob: bytes = b"", metadata: Any = None, name: str = "model.mlmodelc") -> Path:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        (path / "model.mil").write_bytes(text if isinstance(text, bytes) else text.encode())
        if blob:
            (path / "weights").mkdir(exist_ok=True)
            (path / "weights" / "weight.bin").write_bytes(blob)
        if metadata is not None:
            (path / "metadata.json").write_text(json.dumps([metadata]))
        return path

    return write


WEIGHT = np.arange(8, dtype=np.float32).reshape(2, 4) / 4


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


RANGES = FLEXIBLE.replace("KIND", "list<tensor<int32, [2]>, ?>").replace(
    "SHAPES", '"RangeDims", {{"x", [[1, 1], [2, 5]]}}'
)
ENUMERATED = FLEXIBLE.replace("KIND", "dict<string, tensor<int32, [?]>>").replace(
    "SHAPES", '"EnumeratedShapes", {{"543d0f94", {{"x", [1, 4]}}}, {"697b758f", {{"x", [1, 2]}}}}'
)


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
    package.spec_path, package.spec = Path("test"), type(Package(folder(OLD)).spec)(mlProgram=program)
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


# -- bad text ----------------------------------------------------------------------------------------------------------

BAD = {
    "empty": (OLD, "", r"line 1, column 1: 'program' is missing"),
    "cut": ("-> (out, new_state);\n}", "", r"line 18, column 11: '->' is missing"),
    "another version": ("program(1.0)", "program(2.0)", "MIL text of version '2.0'"),
    "another character": ("linear_0 =", "linear_0 ¤", r"line 9, column 43: '¤' is no token"),
    "string without end": ('"fp32")', '"fp32)', r"line 15, column 70: a string is not closed|expected"),
    "unknown type": ("tensor<fp16, [1, 4]> audio_to", "tensor<fp17, [1, 4]> audio_to",
                     "line 6, column 13: 'fp17' is no element"),
    "open type": ("tensor<fp16, [1, 4]> audio_to", "tensor<fp16, [1, 4> audio_to",
                  "line 6, column 19: a tensor's type is not"),
    "size": ("tensor<fp16, [1, 4]> audio_to", "tensor<fp16, [1, -4]> audio_to", "'-4' is no size"),
    "huge size": ("tensor<fp16, [1, 4]> audio_to", f"tensor<fp16, [1, {'9' * 5000}]> audio_to", "is no size"),
    "ranks": ("tensor<fp16, [1, 4]> audio_to", f"tensor<fp16, [{'1, ' * 40}4]> audio_to", "41 dimensions"),
    "too few": ("[0x1p-1, -0x1.8p+1]", "[0x1p-1]",
                r"line 8, column \d+: a literal has 1 elements along axis 0, its type says 2"),
    "too deep": ("[0x1p-1, -0x1.8p+1]", "[[0x1p-1, -0x1.8p+1]]", "a list of numbers without lists in it is expected"),
    "no number": ("[0x1p-1, -0x1.8p+1]", "[0x1p-1, two]", "a list holds something that is no fp16"),
    "huge number": ("[1, 1]", f"[1, {'1' * 9999}]", "a list holds something that is no int32"),
    "range": ("[1, 1]", "[1, 2147483648]", "a literal does not fit its type int32"),
    "huge float": ("[0x1p-1, -0x1.8p+1]", "[0x1p-1, 0x1p+99999]", "a list holds something that is no fp16"),
    "no bool": ("tensor<bool, []>(false)", "tensor<bool, []>(0)", "'0' is no bool"),
    "offset": ("tensor<uint64, []>(64)", "tensor<uint64, []>(-64)", "BLOBFILE's 'offset' is none"),
    "offset is no number": ("tensor<uint64, []>(64)", 'tensor<string, []>("64")', "BLOBFILE's 'offset' is none"),
    "no offset": (", offset = tensor<uint64, []>(64)", "", "BLOBFILE needs a path and an offset"),
    "input twice": ("bias = bias, weight", "bias = bias, bias", "the input 'bias' stands twice"),
    "no name": ("axis = axis_0, split", "axis = , split", r"'\(' is expected here, not ','"),
    "after the end": ("new_state);\n}", "new_state);\n} func", "the end of the program is expected here, not 'func'"),
    "git lfs": (OLD, "version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS"),
    "output from nowhere": ("-> (out, new_state)", "-> (out, other)", "the output 'other' is made nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_text_says_where(folder: Any, name: str) -> None:
    old, new, message = BAD[name]
    assert old in OLD
    path = folder(OLD.replace(old, new), weights(WEIGHT))
    with pytest.raises((PackageError, UnsupportedError), match=message) as caught:
        Package(path)
    assert "\n" not in str(caught.value)


def test_text_that_is_no_text(folder: Any) -> None:
    with pytest.raises(PackageError, match=r"model\.mil: not text: invalid start byte at byte 3"):
        Package(folder(b"pro\xff"))


@pytest.mark.parametrize(
    "metadata",
    [
        {"inputSchema": [{"name": "other"}]},
        {"inputSchema": [{}]},
        {"inputSchema": 5},
        {"inputSchema": [{"name": "audio", "type": "Image"}]},
        {"inputSchema": [{"name": "audio", "shape": "[" * 100_000}]},
        {"inputSchema": [{"name": "audio", "shape": "[1e400]"}]},
        {"inputSchema": [{"name": "audio", "shapeRange": "[[1]]"}]},
        {"functions": [7]},
        {"userDefinedMetadata": [1]},
    ],
    ids=["other input", "no name", "no list", "no size", "deep", "infinite", "no range", "no function", "list"],
)
def test_metadata_that_contradicts(folder: Any, metadata: Any) -> None:
    with pytest.raises(PackageError, match=r"metadata\.json: the features' description is damaged"):
        Package(folder(OLD, weights(WEIGHT), metadata))


DEEP = {
    "types": "list<" * 50_000 + "tensor<fp16, [1]>" + ", 1>" * 50_000 + " x",
    "tuples": "tuple<" * 50_000,
    "states": "state<" * 50_000,
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_types(kind: str) -> None:
    with pytest.raises(PackageError, match="types are nested too deep"):
        parse_program(f"program(1.0) {{ func main<ios17>({DEEP[kind]}", where="test")


def test_deep_bodies_and_arguments() -> None:
    head = "program(1.0) { func main<ios17>() { "
    with pytest.raises(PackageError, match="bodies are nested too deep"):
        parse_program(head + "bool x = cond() b() { " * 50_000, where="test")
    with pytest.raises(PackageError, match="arguments are nested too deep"):
        parse_program(head + "bool x = cond(y = " + "(" * 50_000, where="test")


@pytest.mark.parametrize(
    "part", ["tensor<", "tensor<a,[", "tensor ", '"\\', '"', "0x", "1e", "-", "[", "a = (", " " * 50], ids=repr
)
def test_time_is_linear_in_hostile_text(part: str) -> None:
    """What a pattern that goes back would need minutes or years for."""
    text = "program(1.0) { func main<ios17>(" + part * (2_000_000 // len(part))
    with pytest.raises(PackageError):
        parse_program(text, where="test")


SIGNS = '[](){}<>,;="\\?-x0 \0é'
SIZES = ("1", "2", "3", "4", "64")
WORDS = ("fp16", "fp32", "int32", "string", "bool", "uint64", "add", "mul")


def mutated(text: str, rng: random.Random) -> str:
    """A text with one to five deletions, copies, other signs, other numbers, other words or deep nesting."""
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, other = rng.randrange(len(text)), rng.randrange(len(text))
        part = text[at : at + rng.choice([1, 2, 8, 60, 400])]
        kind = rng.randrange(6)
        if kind == 0:
            text = text[:at] + text[at + len(part) :]
        elif kind == 1:
            text = text[:other] + part + text[other:]
        elif kind == 2:
            text = text[:at] + rng.choice(SIGNS) + text[at + 1 :]
        elif kind == 3:
            text = text.replace(rng.choice(SIZES), str(rng.choice([0, 7, -1, 2**31, 2**62])), 2)
        elif kind == 4:
            text = text.replace(*rng.sample(WORDS, 2))
        else:
            text = text[:at] + rng.choice("[({<") * 3000 + text[at:]
        text = text or "x"
    return text


def test_damaged_text_ends_in_an_error_or_in_a_model(folder: Any) -> None:
    """Deletions, swaps, nesting, huge sizes, offsets that leave the file."""
    path = folder(OLD, weights(WEIGHT))
    refused = 0
    for seed in range(400):
        rng = random.Random(seed)
        text = mutated(rng.choice([OLD, NEW, RANGES, ENUMERATED, NESTED, LABELS]), rng)
        (path / "model.mil").write_text(text, encoding="utf-8")
        tracemalloc.start()
        try:
            program = read_program(Package(path))
            for function in program.functions.values():
                for op in function.ops:
                    for argument in (a for given in op.inputs.values() for a in given if isinstance(a, Constant)):
                        argument.load()
        except LilimsError:
            refused += 1
        except Exception as exc:
            raise AssertionError(f"seed {seed}") from exc
        finally:
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert most < 32 << 20, f"seed {seed}"
    assert 200 < refused < 400
