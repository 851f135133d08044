"""The package's folder: what it must have, what it must not do; and programs read from hostile specifications."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import LilimsError, PackageError, UnsupportedError
from lilims.runtime.portable import MLModel, describe_package
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.program import Constant, Program
from lilims.runtime.portable.reader import read_program
from lilims.runtime.portable.spec import new_message

from .damage import damaged

FP32, INT32, STRING = 11, 23, 2


def tensor_type(code: int, *shape: int) -> Any:
    type_ = new_message("ValueType")
    type_.tensorType.dataType, type_.tensorType.rank = code, len(shape)
    for size in shape:
        type_.tensorType.dimensions.add().constant.size = size
    return type_


def program_spec() -> Any:
    """A model with one function that gives back its input."""
    spec = new_message("Model", specificationVersion=9)
    for features in (spec.description.input, spec.description.output):
        feature = features.add(name="x" if features is spec.description.input else "y")
        feature.type.multiArrayType.shape.append(2)
        feature.type.multiArrayType.dataType = 65568
    function = spec.mlProgram.functions["main"]
    function.opset = "CoreML8"
    function.inputs.add(name="x", type=tensor_type(FP32, 2))
    block = function.block_specializations["CoreML8"]
    op = block.operations.add(type="identity")
    op.inputs["x"].arguments.add(name="x")
    op.outputs.add(name="y", type=tensor_type(FP32, 2))
    block.outputs.append("y")
    return spec


def mixed_spec() -> Any:
    """A model with a state, a compressed weight and a product: more that can be damaged."""
    spec = program_spec()
    function = spec.mlProgram.functions["main"]
    function.inputs.add(name="s").type.stateType.wrappedType.CopyFrom(tensor_type(FP32, 2))
    block = function.block_specializations["CoreML8"]
    weight = block.operations.add(type="constexpr_blockwise_shift_scale")
    for key, value in {
        "data": immediate(25, (2, 2), "bytes", b"\x21\x43"),
        "scale": immediate(FP32, (2, 1), "floats", [1, 2]),
    }.items():
        weight.inputs[key].arguments.add(value=value)
    weight.outputs.add(name="w", type=tensor_type(FP32, 2, 2))
    read_state = block.operations.add(type="read_state")
    read_state.inputs["input"].arguments.add(name="s")
    read_state.outputs.add(name="old", type=tensor_type(FP32, 2))
    for op_type, inputs, name in (("linear", {"x": "y", "weight": "w"}, "p"), ("add", {"x": "p", "y": "old"}, "z")):
        op = block.operations.add(type=op_type)
        for key, value in inputs.items():
            op.inputs[key].arguments.add(name=value)
        op.outputs.add(name=name, type=tensor_type(FP32, 2))
    write_state = block.operations.add(type="write_state")
    write_state.inputs["input"].arguments.add(name="s")
    write_state.inputs["data"].arguments.add(name="z")
    block.outputs[0] = "z"
    return spec


def write(folder: Path, spec: Any, manifest: Any = None) -> Path:
    package = folder / "model.mlpackage"
    (package / "Data/com.apple.CoreML").mkdir(parents=True)
    data = spec if isinstance(spec, bytes) else spec.SerializeToString()
    (package / "Data/com.apple.CoreML/model.mlmodel").write_bytes(data)
    entries = {"id": {"path": "com.apple.CoreML/model.mlmodel"}}
    text = json.dumps({"rootModelIdentifier": "id", "itemInfoEntries": entries} if manifest is None else manifest)
    (package / "Manifest.json").write_text(text)
    return package


def manifest(path: Any) -> dict[str, Any]:
    return {"rootModelIdentifier": "id", "itemInfoEntries": {"id": {"path": path}}}


def test_a_package_made_by_hand_runs(tmp_path: Path) -> None:
    model = MLModel(write(tmp_path, program_spec()))
    assert np.array_equal(model.predict({"x": [1.0, 2.0]})["y"], [1, 2])


# -- the folder --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../../secret.mlmodel", "leads out of the package"),
        ("/etc/passwd", "leads out of the package"),
        ("C:\\secret.mlmodel", "leads out of the package"),
        ("..\\..\\secret.mlmodel", "leads out of the package"),
        ("com.apple.CoreML\0", "leads out of the package"),
        ("", "leads out of the package"),
        ("com.apple.CoreML/other.mlmodel", "lacks this file"),
        ("com.apple.CoreML", "lacks this file"),
        (7, "is not text"),
    ],
    ids=repr,
)
def test_where_the_manifest_may_point(tmp_path: Path, path: Any, message: str) -> None:
    (tmp_path / "secret.mlmodel").write_bytes(program_spec().SerializeToString())
    with pytest.raises(PackageError, match=message):
        Package(write(tmp_path, program_spec(), manifest(path)))


@pytest.mark.parametrize(
    "content",
    [[], {}, {"rootModelIdentifier": "id"}, {"rootModelIdentifier": "other", "itemInfoEntries": {"id": {"path": "x"}}}],
    ids=["list", "empty", "no-items", "unknown-id"],
)
def test_a_manifest_without_a_root_model(tmp_path: Path, content: Any) -> None:
    with pytest.raises(PackageError, match=r"Manifest\.json: names no root model"):
        Package(write(tmp_path, program_spec(), content))


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
@pytest.mark.parametrize("what", ["model", "folder", "weights", "loop", "nowhere"])
def test_links_out_of_the_package_are_refused(tmp_path: Path, what: str) -> None:
    spec = program_spec()
    _blob_const(spec, "@model_path/weights/weight.bin")
    package = write(tmp_path, spec)
    inside, outside = package / "Data/com.apple.CoreML", tmp_path / "outside"
    outside.mkdir()
    (outside / "model.mlmodel").write_bytes(spec.SerializeToString())
    (outside / "weight.bin").write_bytes(bytes(256))
    if what == "model":
        (inside / "model.mlmodel").unlink()
        (inside / "model.mlmodel").symlink_to(outside / "model.mlmodel")
    elif what == "folder":
        (inside / "model.mlmodel").unlink()
        inside.rmdir()
        inside.symlink_to(outside)
    elif what == "weights":
        (inside / "weights").symlink_to(outside)
    elif what == "loop":
        (inside / "weights").symlink_to(inside / "weights")
    else:
        (inside / "weights").mkdir()
        (inside / "weights/weight.bin").symlink_to(outside / "none")
    with pytest.raises(PackageError, match="link leads out|cannot be read|lacks this file"):
        MLModel(package)


@pytest.mark.parametrize(
    "name",
    [
        "@model_path/../../../secret",
        "/etc/passwd",
        "weights/weight.bin",
        "@model_path/weights/none.bin",
        "@model_path/",
    ],
)
def test_where_a_blob_file_may_be(tmp_path: Path, name: str) -> None:
    spec = program_spec()
    _blob_const(spec, name)
    with pytest.raises(PackageError):
        MLModel(write(tmp_path, spec))


def _blob_const(spec: Any, file: str) -> None:
    """The program's output becomes a constant from a file."""
    block = spec.mlProgram.functions["main"].block_specializations["CoreML8"]
    del block.operations[:]
    op = block.operations.add(type="const")
    value = op.attributes["val"]
    value.type.CopyFrom(tensor_type(FP32, 2))
    value.blobFileValue.fileName, value.blobFileValue.offset = file, 64
    op.outputs.add(name="y", type=tensor_type(FP32, 2))


@pytest.mark.parametrize("kind", ["neuralNetwork", "neuralNetworkClassifier", "treeEnsembleClassifier"])
def test_other_kinds_of_model_are_one_clear_line(tmp_path: Path, kind: str) -> None:
    spec = new_message("Model")
    setattr(spec, kind, b"")
    with pytest.raises(UnsupportedError, match=f"{kind}.*not an ML Program") as caught:
        Package(write(tmp_path, spec))
    assert ("old" in str(caught.value)) == kind.startswith("neuralNetwork")


def test_things_that_are_no_packages(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no such package"):
        Package(tmp_path / "none.mlpackage")
    with pytest.raises(PackageError, match=r"no Manifest\.json"):
        Package(tmp_path)
    old = tmp_path / "old.mlmodel"
    old.write_bytes(new_message("Model", neuralNetwork=b"").SerializeToString())
    with pytest.raises(UnsupportedError, match="old neuralNetwork format"):
        Package(old)
    compiled = tmp_path / "some.mlmodelc"
    compiled.mkdir()
    with pytest.raises(UnsupportedError, match="compiled model"):
        Package(compiled)
    (compiled / "encryptionInfo").mkdir()
    with pytest.raises(UnsupportedError, match="encrypted"):
        Package(compiled)
    text = tmp_path / "model.txt"
    text.write_text("hello")
    with pytest.raises(PackageError, match=r"not an \.mlpackage folder"):
        Package(text)
    with pytest.raises(PackageError, match="holds no model"):
        Package(write(tmp_path, b""))


def test_its_hash_covers_every_file(tmp_path: Path) -> None:
    package = write(tmp_path, program_spec())
    first = Package(package).sha256()
    assert Package(package).sha256() == first
    (package / "Data/com.apple.CoreML/weights").mkdir()
    (package / "Data/com.apple.CoreML/weights/weight.bin").write_bytes(b"1")
    assert Package(package).sha256() != first


# -- the program -------------------------------------------------------------------------------------------------------


def read(tmp_path: Path, spec: Any) -> Program:
    return read_program(Package(write(tmp_path, spec)))


def const(spec: Any, value: Any) -> None:
    op = spec.mlProgram.functions["main"].block_specializations["CoreML8"].operations.add(type="const")
    op.attributes["val"].CopyFrom(value)
    op.outputs.add(name="c", type=value.type)


def immediate(code: int, shape: tuple[int, ...], field: str, content: Any) -> Any:
    made = new_message("Value", type=tensor_type(code, *shape))
    target = getattr(made.immediateValue.tensor, field)
    if isinstance(content, bytes):
        target.values = content
    else:
        target.values.extend(content)
    return made


IMMEDIATES = {
    "fp32": (FP32, (2,), "floats", [1.5, -2.0], np.float32),
    "fp64": (12, (2,), "doubles", [1.5, -2.0], np.float64),
    "int32": (INT32, (1, 2), "ints", [1, -2], np.int32),
    "int16": (22, (2,), "ints", [1, -2], np.int16),
    "uint16": (32, (2,), "ints", [1, 65535], np.uint16),
    "int64": (24, (2,), "longInts", [1, -(1 << 40)], np.int64),
    "bool": (1, (2,), "bools", [True, False], np.bool_),
    "string": (STRING, (), "strings", ["fp16"], np.object_),
    "scalar": (FP32, (), "floats", [3.0], np.float32),
    "empty": (FP32, (0, 3), "floats", [], np.float32),
    "fp16": (10, (2,), "bytes", np.array([1.5, -2], np.float16).tobytes(), np.float16),
    "int8": (21, (2,), "bytes", b"\x01\xff", np.int8),
    "uint32": (33, (1,), "bytes", b"\xff\xff\xff\xff", np.uint32),
    "int4": (25, (3,), "bytes", b"\x8f\x07", np.int8),
    "uint3": (39, (3,), "bytes", b"\xff\x01", np.uint8),
}
EXPECTED = {
    "fp16": [1.5, -2], "int8": [1, -1], "uint32": [(1 << 32) - 1], "int4": [-1, -8, 7], "uint3": [7, 7, 7],
}  # fmt: skip


@pytest.mark.parametrize("name", IMMEDIATES)
def test_immediate_values(tmp_path: Path, name: str) -> None:
    code, shape, field, content, dtype = IMMEDIATES[name]
    spec = program_spec()
    const(spec, immediate(code, shape, field, content))
    literal = read(tmp_path, spec).functions["main"].ops[-1].inputs["val"][0]
    assert isinstance(literal, Constant)
    found = literal.load()
    assert (found.dtype, found.shape) == (np.dtype(dtype), shape)
    assert found.reshape(-1).tolist() == EXPECTED.get(name, content)
    if field == "bytes":
        assert literal.raw is not None
        assert literal.raw().tobytes() == content


@pytest.mark.parametrize(
    ("code", "shape", "field", "content"),
    [
        (FP32, (3,), "floats", [1.0]),
        (FP32, (1 << 62, 1 << 62), "floats", [1.0]),
        (10, (3,), "bytes", b"\0\0"),
        (21, (1,), "ints", [1000]),
        (INT32, (1,), "strings", ["x"]),
        (STRING, (1,), "bytes", b"x"),
    ],
    ids=["few", "absurd", "cut", "too-large", "text", "no-bytes"],
)
def test_literals_that_contradict_their_type(
    tmp_path: Path, code: int, shape: tuple[int, ...], field: str, content: Any
) -> None:
    spec = program_spec()
    const(spec, immediate(code, shape, field, content))
    literal = read(tmp_path, spec).functions["main"].ops[-1].inputs["val"][0]
    assert isinstance(literal, Constant)
    with pytest.raises(PackageError, match="a literal"):
        literal.load()


def test_lists_of_scalars_are_one_literal(tmp_path: Path) -> None:
    spec = program_spec()
    made = new_message("Value")
    made.type.listType.type.CopyFrom(tensor_type(STRING))
    for word in ("cat", "dog"):
        made.immediateValue.list.values.append(immediate(STRING, (), "strings", [word]))
    const(spec, made)
    literal = read(tmp_path, spec).functions["main"].ops[-1].inputs["val"][0]
    assert isinstance(literal, Constant)
    assert literal.load().tolist() == ["cat", "dog"]


def test_attributes_of_old_constexpr_ops_are_inputs(tmp_path: Path) -> None:
    spec = program_spec()
    op = spec.mlProgram.functions["main"].block_specializations["CoreML8"].operations.add(type="constexpr_cast")
    op.attributes["source_val"].CopyFrom(immediate(10, (1,), "bytes", b"\0\x3c"))
    op.attributes["name"].CopyFrom(immediate(STRING, (), "strings", ["weight"]))
    op.outputs.add(name="w", type=tensor_type(FP32, 1))
    found = read(tmp_path, spec).functions["main"].ops[-1]
    assert (found.name, list(found.inputs), found.attributes) == ("weight", ["source_val"], {})


def test_blocks_without_end_are_refused(tmp_path: Path) -> None:
    spec = program_spec()
    block = spec.mlProgram.functions["main"].block_specializations["CoreML8"]
    for _ in range(20):
        block = block.operations.add(type="cond").blocks.add()
    with pytest.raises(PackageError, match="nested too deep"):
        read(tmp_path, spec)


@pytest.mark.parametrize(
    "damage",
    ["no function", "no block", "no default", "rank", "no type", "no value", "no binding"],
)
def test_specifications_that_contradict_themselves(tmp_path: Path, damage: str) -> None:
    spec = program_spec()
    function = spec.mlProgram.functions["main"]
    op = function.block_specializations["CoreML8"].operations[0]
    if damage == "no function":
        spec.mlProgram.functions.clear()
    elif damage == "no block":
        function.block_specializations.clear()
    elif damage == "no default":
        spec.description.defaultFunctionName = "other"
    elif damage == "rank":
        op.outputs[0].type.CopyFrom(tensor_type(FP32, *[1] * 40))
    elif damage == "no type":
        op.outputs[0].ClearField("type")
    elif damage == "no value":
        op.attributes["val"].SetInParent()
    else:
        op.inputs["x"].arguments[0].ClearField("name")
    with pytest.raises(PackageError):
        read(tmp_path, spec)


@pytest.mark.parametrize("seed", [*range(40), 394, 570])
def test_a_damaged_byte_is_one_error_or_none(tmp_path: Path, seed: int) -> None:
    """A specification with bytes changed, cut out or cut off, still ends in a typed error or a result."""
    package = write(tmp_path, damaged(mixed_spec(), seed))
    outcome = "a result"
    try:
        describe_package(package)
        model = MLModel(package)
        model.predict({"x": [1.0, 2.0]}, model.make_state())
    except LilimsError as error:
        outcome = str(error)
    assert outcome


@pytest.mark.parametrize("code", [13, 40, 77], ids=["bf16", "fp8", "unknown"])
def test_element_types_without_a_meaning_here(tmp_path: Path, code: int) -> None:
    spec = program_spec()
    spec.mlProgram.functions["main"].inputs[0].type.tensorType.dataType = code
    with pytest.raises(UnsupportedError, match="not known to the portable executor"):
        read(tmp_path, spec)


@pytest.mark.parametrize("damage", ["use before", "never computed", "defined twice", "undescribed"])
def test_functions_that_contradict_themselves(tmp_path: Path, damage: str) -> None:
    spec = program_spec()
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations["CoreML8"]
    if damage == "use before":
        block.operations[0].inputs["x"].arguments[0].name = "later"
    elif damage == "never computed":
        block.outputs[0] = "z"
    elif damage == "defined twice":
        block.operations.add().CopyFrom(block.operations[0])
    else:
        del spec.description.input[:]
    with pytest.raises(PackageError):
        MLModel(write(tmp_path, spec), fused=False)


def test_an_unknown_op_is_named_with_its_opset_and_place(tmp_path: Path) -> None:
    spec = program_spec()
    spec.mlProgram.functions["main"].block_specializations["CoreML8"].operations[0].type = "made_up"
    with pytest.raises(UnsupportedError, match="main/y: op made_up of opset CoreML8 is not known"):
        MLModel(write(tmp_path, spec))


def test_the_model_that_is_damaged_here_is_sound(tmp_path: Path) -> None:
    model = MLModel(write(tmp_path, mixed_spec()))
    state = model.make_state()
    x = np.array([1, 2], np.float32)
    codes = np.array([[1, 2], [3, 4]]) * [[1], [2]]
    for turn in (1, 2):
        found = model.predict({"x": x}, state)["z"]
        assert np.array_equal(found, turn * (codes @ x))


def test_a_folder_saved_by_coremltools(ct: Any, mb: Any, save: Callable[..., Path]) -> None:
    @mb.program(input_specs=[mb.TensorSpec((64,))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        return mb.add(x=x, y=np.arange(64, dtype=np.float32), name="y")

    package = Package(save(main=program))
    ops = read_program(package).functions["main"].ops
    literal = next(op for op in ops if op.type == "const").inputs["val"][0]
    assert isinstance(literal, Constant)
    assert literal.blob is not None
    assert np.array_equal(literal.load(), np.arange(64))
    assert not literal.load().flags.writeable
