"""The message table against coremltools' generated modules, where they are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from lilims.core.errors import PackageError
from lilims.core.testing import test_data
from lilims.runtime.portable.spec import ARRAY_DTYPES, MIL_DTYPES, new_message, parse_model


@pytest.fixture(scope="module")
def theirs(ct: Any) -> dict[str, Any]:
    """coremltools' message descriptors by name, nested ones too."""
    from coremltools.proto import FeatureTypes_pb2, MIL_pb2, Model_pb2

    found = {}
    for module in (MIL_pb2, FeatureTypes_pb2, Model_pb2):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            found.update((m.name, m) for m in _nested(message))
    return found


def _nested(message: Any) -> Iterator[Any]:
    yield message
    for inner in message.nested_types:
        yield from _nested(inner)


def test_every_field_has_the_number_and_the_kind_of_the_format(theirs: dict[str, Any]) -> None:
    ours = new_message("Model").DESCRIPTOR.file.message_types_by_name
    wrong = [
        f"{message.name}.{field.name}"
        for message in ours.values()
        if message.name != "Empty"
        for field in message.fields
        if not _agrees(field, theirs[message.name].fields_by_name.get(field.name))
    ]
    assert wrong == []
    assert len(ours) > 40


def _agrees(ours: Any, theirs: Any) -> bool:
    if theirs is None or ours.number != theirs.number or ours.is_repeated != theirs.is_repeated:
        return False
    same_oneof = (ours.containing_oneof or ours).name == (theirs.containing_oneof or theirs).name
    alike = {
        FieldDescriptor.TYPE_BYTES: (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE),  # not looked into
        FieldDescriptor.TYPE_INT32: (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM),
    }
    return same_oneof and theirs.type in alike.get(ours.type, (ours.type,))


def test_element_types_have_the_numbers_of_the_format(ct: Any) -> None:
    from coremltools.proto import FeatureTypes_pb2, MIL_pb2

    names = {"FLOAT16": "fp16", "FLOAT32": "fp32", "FLOAT64": "fp64", "BFLOAT16": "bf16", "DOUBLE": "fp64"}
    names |= {"FLOAT8E4M3FN": "fp8e4m3fn", "FLOAT8E5M2": "fp8e5m2"}
    mil = {number: names.get(name, name.lower()) for name, number in MIL_pb2.DataType.items() if number}
    assert mil == MIL_DTYPES
    arrays = FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.items()
    assert {number: names.get(name, name.lower()) for name, number in arrays if number} == ARRAY_DTYPES


def test_both_read_the_same_from_a_package(ct: Any, mb: Any, save: Callable[..., Path]) -> None:
    from coremltools.proto import Model_pb2

    @mb.program(input_specs=[mb.TensorSpec((1, 4))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        return mb.cond(
            pred=mb.less(x=mb.reduce_sum(x=x), y=0.0),
            _true_fn=lambda: mb.add(x=x, y=1.0),
            _false_fn=lambda: mb.mul(x=x, y=2.0),
        )

    data = (save(main=program) / "Data/com.apple.CoreML/model.mlmodel").read_bytes()
    theirs = Model_pb2.Model.FromString(data)
    ours = parse_model(data, where="test")
    # what we parsed and wrote again is to them what it was: nothing misread, nothing lost
    assert Model_pb2.Model.FromString(ours.SerializeToString()) == theirs
    block = ours.mlProgram.functions["main"].block_specializations["CoreML8"]
    assert [op.type for op in block.operations if op.type != "const"] == ["reduce_sum", "less", "cond"]
    assert len(block.operations[-1].blocks) == 2


def test_it_needs_no_coremltools() -> None:
    package = test_data("coreml/silero-vad/silero-vad-stft-v6.0.0.mlpackage")
    model = parse_model((package / "Data/com.apple.CoreML/model.mlmodel").read_bytes(), where="test")
    assert model.WhichOneof("Type") == "mlProgram"
    assert model.description.input[0].name == "audio_input"
    assert list(model.description.input[0].type.multiArrayType.shape) == [1, 576]


@pytest.mark.parametrize(
    "data", [b"\xff" * 40, b"\x12\x7f", b"\xb2\x1f\xff\xff\xff\xff\x0f"], ids=["noise", "cut", "long"]
)
def test_damaged_bytes_are_one_error(data: bytes) -> None:
    with pytest.raises(PackageError, match=r"spec\.mlmodel: not a Core ML model"):
        parse_model(data, where="spec.mlmodel")


def test_nesting_without_end_is_refused() -> None:
    data = b""
    for _ in range(5000):  # a pipeline (field 202) of a model (field 1) that is a pipeline of a model …
        data = b"\xd2\x0c" + _length(b"\x0a" + _length(data))
    with pytest.raises(PackageError, match="deep: not a Core ML model"):
        parse_model(data, where="deep")


def _length(data: bytes) -> bytes:
    size, prefix = len(data), b""
    while True:
        byte, size = size & 127, size >> 7
        prefix += bytes([byte | (128 if size else 0)])
        if not size:
            return prefix + data
