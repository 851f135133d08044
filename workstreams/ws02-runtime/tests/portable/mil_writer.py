"""A package as the compiled folder that Core ML makes of it: the program as text, metadata.json, the weights.

Knows MIL.proto and how `coremlc` prints it, in both dialects; written without the parser's code, so that one can be
tested against the other. What no published sample shows (bodies within operations) it prints as the parser's docstring
has it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lilims.runtime.portable.blob import NUMPY_DTYPES, unpack
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.spec import ARRAY_DTYPES, MIL_DTYPES

OPSETS = {"CoreML5": "ios15", "CoreML6": "ios16", "CoreML7": "ios17", "CoreML8": "ios18", "CoreML9": "ios26"}
ARRAYS = {"fp16": "Float16", "fp32": "Float32", "fp64": "Double", "int8": "Int8", "int32": "Int32"}
COLOURS = {10: "Grayscale", 20: "RGB", 30: "BGR", 40: "GrayscaleFloat16"}


def compiled(package: Path, version: str = "1.0", *, metadata: bool = True, folder: Path | None = None) -> Path:
    """Writes a package as a compiled folder, beside it or in another folder."""
    opened = Package(package)
    target = (folder or package.parent) / f"{package.stem}-{version}.mlmodelc"
    target.mkdir()
    (target / "model.mil").write_text(Writer(version).program(opened.spec), encoding="utf-8")
    (target / "coremldata.bin").write_bytes(b"not read")
    if metadata:
        (target / "metadata.json").write_text(json.dumps([described(opened.spec)], indent=2), encoding="utf-8")
    weights = opened.spec_path.parent / "weights"
    if weights.is_dir():
        shutil.copytree(weights, target / "weights")
    return target


class Writer:
    """Prints messages; `version` is "1.0", where a scalar is a tensor without dimensions, or "1.3"."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.scalars = version != "1.0"

    def program(self, model: Any) -> str:
        info = self.string("coremlc-version"), self.string("3500.32.1")
        string = self.scalar_type("string")
        lines = [f"program({self.version})", f"[buildInfo = dict<{string}, {string}>({{{{{', '.join(info)}}}}})]", "{"]
        description = model.description
        described = {function.name: function for function in description.functions}
        for name, function in sorted(model.mlProgram.functions.items()):
            inputs = described[name].input if name in described else description.input
            lines += self.function(name, function, inputs)
        return "\n".join([*lines, "}"])

    def function(self, name: str, function: Any, features: Any) -> Iterator[str]:
        (block,) = function.block_specializations.values()
        attributes = ", ".join(self.shapes(features) + self.defaults(features))
        head = f"    func {name}<{OPSETS[function.opset]}>({self.values(function.inputs)})"
        yield f"{head} [{attributes}] {{" if attributes else f"{head} {{"
        yield from (f"            {line}" for line in self.operations(block))
        yield f"        }} -> ({', '.join(block.outputs)});"

    def operations(self, block: Any) -> Iterator[str]:
        for op in block.operations:
            results = f"{self.values(op.outputs)} = " if op.outputs else ""
            given = ", ".join(f"{key} = {self.argument(value)}" for key, value in sorted(op.inputs.items()))
            attributes = ", ".join(f"{key} = {self.literal(value)}" for key, value in sorted(op.attributes.items()))
            line = f"{results}{op.type}({given}){f'[{attributes}]' if attributes else ''}"
            for i, inner in enumerate(op.blocks):
                yield f"{line} block{i}({self.values(inner.inputs)}) {{"
                yield from (f"    {text}" for text in self.operations(inner))
                line = f"}} -> ({', '.join(inner.outputs)})"
            yield f"{line};"

    def values(self, values: Any) -> str:
        return ", ".join(f"{self.type(value.type)} {value.name}" for value in values)

    def argument(self, argument: Any) -> str:
        found = [b.name if b.WhichOneof("binding") == "name" else self.literal(b.value) for b in argument.arguments]
        return found[0] if len(found) == 1 else f"({', '.join(found)})"

    # -- types -------------------------------------------------------------------------------------------------------

    def scalar_type(self, dtype: str) -> str:
        return dtype if self.scalars else f"tensor<{dtype}, []>"

    def type(self, type_: Any) -> str:
        kind = type_.WhichOneof("type")
        if kind == "tensorType":
            dtype = MIL_DTYPES[type_.tensorType.dataType]
            sizes = ", ".join(size(d) for d in type_.tensorType.dimensions)
            return f"tensor<{dtype}, [{sizes}]>" if sizes else self.scalar_type(dtype)
        if kind == "stateType":
            return f"state<{self.type(type_.stateType.wrappedType)}>"
        if kind == "listType":
            return f"list<{self.type(type_.listType.type)}, {size(type_.listType.length)}>"
        if kind == "tupleType":
            return f"tuple<{', '.join(map(self.type, type_.tupleType.types))}>"
        return f"dict<{self.type(type_.dictionaryType.keyType)}, {self.type(type_.dictionaryType.valueType)}>"

    # -- literals ----------------------------------------------------------------------------------------------------

    def string(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    def literal(self, value: Any) -> str:
        if value.WhichOneof("value") == "blobFileValue":
            path = f'{self.scalar_type("string")}("{value.blobFileValue.fileName}")'
            offset = f"{self.scalar_type('uint64')}({value.blobFileValue.offset})"
            return f"{self.type(value.type)}(BLOBFILE(path = {path}, offset = {offset}))"
        return f"{self.type(value.type)}({self.content(value)})"

    def content(self, value: Any) -> str:
        content = value.immediateValue
        kind = content.WhichOneof("value")
        if kind == "list":
            return f"[{', '.join(map(self.content, content.list.values))}]"
        if kind == "tuple":
            return f"({', '.join(map(self.content, content.tuple.values))})"
        if kind == "dictionary":
            pairs = (f"{{{self.content(p.key)}, {self.content(p.value)}}}" for p in content.dictionary.values)
            return f"{{{', '.join(pairs)}}}"
        dtype = MIL_DTYPES[value.type.tensorType.dataType]
        shape = tuple(int(d.constant.size) for d in value.type.tensorType.dimensions)
        field = content.tensor.WhichOneof("value")
        values = getattr(content.tensor, field).values if field else []
        if field == "bytes":
            array = unpack(np.frombuffer(values, np.uint8), dtype, shape)
        else:
            array = np.array(list(values), NUMPY_DTYPES.get(dtype, np.object_)).reshape(shape)
        return self.nested(array.tolist(), self.printer(dtype))

    def printer(self, dtype: str) -> Callable[[Any], str]:
        if dtype.startswith("fp"):
            return hexadecimal
        return {"string": self.string, "bool": lambda value: str(value).lower()}.get(dtype, str)

    def nested(self, values: Any, printer: Callable[[Any], str]) -> str:
        if isinstance(values, list):
            return f"[{', '.join(self.nested(value, printer) for value in values)}]"
        return printer(values)

    # -- attributes of functions -------------------------------------------------------------------------------------

    def shapes(self, features: Any) -> list[str]:
        """`FlexibleShapeInformation`: defaults, and either ranges or shapes, of the inputs that have them."""
        arrays = {f.name: f.type.multiArrayType for f in features if f.type.WhichOneof("Type") == "multiArrayType"}
        kinds = {name: array.WhichOneof("ShapeFlexibility") for name, array in arrays.items()}
        arrays = {name: array for name, array in sorted(arrays.items()) if kinds[name]}
        if not arrays:
            return []
        string, ints = self.scalar_type("string"), "tensor<int32, [?]>"
        enumerated = "enumeratedShapes" in kinds.values()
        types = [f"dict<{string}, {ints}>", f"dict<{string}, list<tensor<int32, [2]>, ?>>"]
        if enumerated:
            types[1] = f"dict<{string}, dict<{string}, {ints}>>"
            count = max(len(array.enumeratedShapes.shapes) for array in arrays.values())
            of_each = [{n: list(a.enumeratedShapes.shapes[i].shape) for n, a in arrays.items()} for i in range(count)]
            second = self.dictionary({f"{i:08x}": self.dictionary(given) for i, given in enumerate(of_each)})
        else:
            ranges = {n: [[r.lowerBound, r.upperBound] for r in a.shapeRange.sizeRanges] for n, a in arrays.items()}
            second = self.dictionary(ranges)
        defaults = self.dictionary({name: list(array.shape) for name, array in arrays.items()})
        key = "EnumeratedShapes" if enumerated else "RangeDims"
        type_ = f"tuple<{', '.join(f'tuple<{string}, {t}>' for t in types)}>"
        return [f'FlexibleShapeInformation = {type_}((("DefaultShapes", {defaults}), ("{key}", {second})))']

    def defaults(self, features: Any) -> list[str]:
        found = {}
        for feature in features:
            if feature.type.isOptional:
                field = feature.type.multiArrayType.WhichOneof("defaultOptionalValue")
                if field:
                    found[feature.name] = hexadecimal(float(getattr(feature.type.multiArrayType, field)))
        types = f"{self.scalar_type('string')}, {self.scalar_type('fp32')}"
        return [f"CoreML_InputDefaultValues = dict<{types}>({self.dictionary(found)})"] if found else []

    def dictionary(self, values: dict[str, Any]) -> str:
        return f"{{{', '.join(f'{{{self.string(key)}, {value}}}' for key, value in values.items())}}}"


def size(dimension: Any) -> str:
    return str(dimension.constant.size) if dimension.WhichOneof("dimension") == "constant" else "?"


def hexadecimal(value: float) -> str:
    """As C's `%a` prints it: 0x1.8p+1."""
    head, mark, exponent = float(value).hex().partition("p")
    return head.rstrip("0").rstrip(".") + mark + exponent if mark and "." in head else head + mark + exponent


# -- metadata.json -----------------------------------------------------------------------------------------------------


def described(model: Any) -> dict[str, Any]:
    """What metadata.json says of a model."""
    description = model.description
    metadata = description.metadata
    found = {
        "metadataOutputVersion": "3.0",
        "specificationVersion": model.specificationVersion,
        "modelType": {"name": "MLModelType_mlProgram"},
        "shortDescription": metadata.shortDescription,
        "author": metadata.author,
        "license": metadata.license,
        "version": metadata.versionString,
        "userDefinedMetadata": dict(metadata.userDefined),
        **schemas(description),
    }
    if description.functions:
        found["functions"] = [{"name": f.name, **schemas(f)} for f in description.functions]
        found["defaultFunctionName"] = description.defaultFunctionName
    return found


def schemas(description: Any) -> dict[str, Any]:
    keys = {"inputSchema": description.input, "outputSchema": description.output}
    return {"stateSchema": [], **{key: [entry(feature) for feature in features] for key, features in keys.items()}}


def entry(feature: Any) -> dict[str, Any]:
    kind = feature.type.WhichOneof("Type")
    found = {
        "name": feature.name,
        "shortDescription": feature.shortDescription,
        "isOptional": str(int(feature.type.isOptional)),
    }
    if kind == "multiArrayType":
        return found | array_entry(feature.type.multiArrayType)
    if kind == "imageType":
        return found | image_entry(feature.type.imageType)
    if kind == "dictionaryType":
        strings = feature.type.dictionaryType.WhichOneof("KeyType") == "stringKeyType"
        return found | {"type": "Dictionary", "keyType": "String" if strings else "Int64"}
    return found | {"type": {"stringType": "String", "int64Type": "Int64"}[kind]}


def array_entry(array: Any) -> dict[str, Any]:
    kind = array.WhichOneof("ShapeFlexibility")
    found = {"type": "MultiArray", "dataType": ARRAYS[ARRAY_DTYPES[array.dataType]], "shape": str(list(array.shape))}
    if kind == "shapeRange":
        found["shapeRange"] = str([[r.lowerBound, r.upperBound] for r in array.shapeRange.sizeRanges])
    elif kind == "enumeratedShapes":
        found["enumeratedShapes"] = str([list(shape.shape) for shape in array.enumeratedShapes.shapes])
    return found | {"hasShapeFlexibility": str(int(kind is not None))}


def image_entry(image: Any) -> dict[str, Any]:
    kind = image.WhichOneof("SizeFlexibility")
    found = {
        "type": "Image",
        "width": str(image.width),
        "height": str(image.height),
        "colorspace": COLOURS[image.colorSpace],
        "isColor": str(int(image.colorSpace in (20, 30))),
    }
    if kind == "imageSizeRange":
        sides = (image.imageSizeRange.widthRange, image.imageSizeRange.heightRange)
        found["sizeRange"] = str([[side.lowerBound, side.upperBound] for side in sides])
    elif kind == "enumeratedSizes":
        found["enumeratedSizes"] = str([[s.width, s.height] for s in image.enumeratedSizes.sizes])
    return found | {"hasSizeFlexibility": str(int(kind is not None))}
