"""A random program as an .mlpackage, straight through the protobuf messages.

Knows the format. Must not know what any op does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lilims.runtime.portable.spec import MIL_DTYPES, new_message

from .maker import Program, Tensor

CODES = {name: code for code, name in MIL_DTYPES.items()}
FEATURES = {"fp16": 65552, "fp32": 65568, "int32": 131104}


def write_program(folder: Path, program: Program) -> Path:
    """The program as an .mlpackage in that folder."""
    spec = new_message("Model", specificationVersion=9)
    function = spec.mlProgram.functions["main"]
    function.opset = program.opset
    block = function.block_specializations[program.opset]
    for value in program.inputs:
        function.inputs.add(name=value.name, type=_type(value, program.flexible))
        _feature(spec.description.input.add(name=value.name), value, program.flexible)
    written: set[str] = set()
    for step in program.steps:
        for value in step.given():
            if value.literal and not program.inline and value.name not in written:
                written.add(value.name)
                op = block.operations.add(type="const")
                op.attributes["val"].CopyFrom(_literal(value))
                op.outputs.add(name=value.name, type=_type(value))
        op = block.operations.add(type=step.op)
        for key, given in step.inputs.items():
            for value in given if isinstance(given, list) else [given]:
                if value.literal and program.inline:
                    op.inputs[key].arguments.add(value=_literal(value))
                else:
                    op.inputs[key].arguments.add(name=value.name)
        for value in step.outputs:
            op.outputs.add(name=value.name, type=_type(value, program.flexible))
    for value in program.outputs:
        block.outputs.append(value.name)
        _feature(spec.description.output.add(name=value.name), value)
    package = folder / "model.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data/model.mlmodel").write_bytes(spec.SerializeToString())
    manifest = {"rootModelIdentifier": "id", "itemInfoEntries": {"id": {"path": "model.mlmodel"}}}
    (package / "Manifest.json").write_text(json.dumps(manifest))
    return package


def _type(value: Tensor, flexible: bool = False) -> Any:
    """A value's type. Flexible: what is not 1 is unknown, as a converter knows of a 1 that it is one."""
    made = new_message("ValueType")
    made.tensorType.dataType, made.tensorType.rank = CODES[value.dtype], value.rank
    for size in value.shape:
        dimension = made.tensorType.dimensions.add()
        if flexible and size > 1 and not value.fixed:
            dimension.unknown.variadic = False
        else:
            dimension.constant.size = size
    return made


def _feature(feature: Any, value: Tensor, flexible: bool = False) -> None:
    array = feature.type.multiArrayType
    array.shape.extend(value.shape)
    array.dataType = FEATURES.get(value.dtype, FEATURES["int32"])
    if flexible and not value.fixed:
        for size in value.shape:
            array.shapeRange.sizeRanges.add(lowerBound=1, upperBound=-1 if size > 1 else 1)


def _literal(value: Tensor) -> Any:
    made = new_message("Value", type=_type(value))
    tensor, flat = made.immediateValue.tensor, value.array.reshape(-1)
    packed = {"fp16": "<f2", "uint32": "<u4"}
    if value.dtype in packed:
        tensor.bytes.values = flat.astype(packed[value.dtype]).tobytes()
    elif value.dtype == "string":
        tensor.strings.values.extend(map(str, flat))
    else:
        kind = {"fp32": "floats", "int32": "ints", "bool": "bools"}[value.dtype]
        getattr(tensor, kind).values.extend(flat.tolist())
    return made
