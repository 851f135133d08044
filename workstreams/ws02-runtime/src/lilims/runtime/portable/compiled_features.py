"""The model description of a compiled model: from its functions' signatures and its `metadata.json`.

Knows how both say what a feature is. Must not know folders or how text is parsed.
The keys of a schema's entry are those that coremltools' `FeatureType::toDictionary` writes
(`mlmodel/src/FeatureType.cpp`; sizes of images are [width, height]). `FlexibleShapeInformation`, an attribute of a
function, stands in the compiled models that mil_text/ lists; `CoreML_InputDefaultValues` in none of them: that it is a
dictionary of names and floats is how Core ML reads it.

A signature alone is enough for arrays, states, flexible shapes and defaults of optional inputs. From metadata.json
come images and their colours, the type that an array has outside, which inputs are optional, and the texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lilims.core.errors import PackageError

from .program import MALFORMED
from .spec import ARRAY_DTYPES, MIL_DTYPES

__all__ = ["describe_features"]

_ARRAYS = {"Float16": "fp16", "Float32": "fp32", "Double": "fp64", "Int8": "int8", "Int32": "int32"}
_CODES = {name: code for code, name in ARRAY_DTYPES.items()}
_COLOURS = {"Grayscale": 10, "RGB": 20, "BGR": 30, "Grayscale16Half": 40, "GrayscaleFloat16": 40}
_METADATA = {"shortDescription": "shortDescription", "author": "author", "license": "license",
             "version": "versionString"}  # fmt: skip
_MOST_TEXT = 1 << 20  # characters of a shape

Schema = dict[str, dict[str, Any]]


def describe_features(model: Any, metadata: Mapping[str, Any], *, where: Path) -> None:
    """Fills `model.description` (spec.py) for the functions of `model.mlProgram`.

    Args:
        metadata: what metadata.json says; empty where there is none.
        where: the file that errors name.

    Raises:
        PackageError: metadata.json contradicts the program or itself.
    """
    try:
        _describe(model, metadata)
    except MALFORMED as exc:
        raise PackageError(
            f"the features' description is damaged ({type(exc).__name__}: {exc})",
            where=where,
            hint="fetch the folder again; without metadata.json the program's own signature is taken",
        ) from exc


def _describe(model: Any, metadata: Mapping[str, Any]) -> None:
    description, functions = model.description, model.mlProgram.functions
    for key, field in _METADATA.items():
        if isinstance(metadata.get(key), str) and metadata[key]:
            setattr(description.metadata, field, metadata[key])
    for key, value in (metadata.get("userDefinedMetadata") or {}).items():
        description.metadata.userDefined[key] = str(value)
    entries = {entry["name"]: entry for entry in metadata.get("functions") or ()}
    if len(functions) == 1 and not entries:
        (name,) = functions
        _function(description, functions[name], metadata)
        return
    for name in [*(n for n in entries if n in functions), *sorted(set(functions) - set(entries))]:
        _function(description.functions.add(name=name), functions[name], entries.get(name, {}))
    description.defaultFunctionName = metadata.get("defaultFunctionName") or ""


def _function(into: Any, function: Any, schemas: Mapping[str, Any]) -> None:
    """Fills a ModelDescription's or a FunctionDescription's input, output and state."""
    shapes = _Shapes(function.attributes)
    defaults = _plain(function.attributes["CoreML_InputDefaultValues"]) if _has_defaults(function) else {}
    types = {value.name: value.type for value in function.inputs}
    given = _schema(schemas, "inputSchema")
    states = {name: type_ for name, type_ in types.items() if type_.WhichOneof("type") == "stateType"}
    for name in dict.fromkeys(n for n in (*given, *types) if n not in states):
        if name not in types:
            raise ValueError(f"the input {name!r} is no input of the function")
        feature = into.input.add(name=name)
        _feature(feature, types[name], given.get(name, {}), shapes)
        if name in defaults or given.get(name, {}).get("isOptional") == "1":
            _optional(feature.type, defaults.get(name))
    for name, type_ in states.items():
        array = into.state.add(name=name).type.stateType.arrayType
        _array(array, type_.stateType.wrappedType.tensorType, {}, _Shapes({}), name)
    _outputs(into, function, _schema(schemas, "outputSchema"), types)


def _outputs(into: Any, function: Any, given: Schema, types: dict[str, Any]) -> None:
    (block,) = function.block_specializations.values()
    wanted = set(block.outputs)
    made = {value.name: value.type for op in block.operations for value in op.outputs if value.name in wanted}
    for name in dict.fromkeys([*(n for n in given if n in wanted), *block.outputs]):
        type_ = made.get(name, types.get(name))
        if type_ is None:
            raise ValueError(f"the output {name!r} is made nowhere")
        _feature(into.output.add(name=name), type_, given.get(name, {}), _Shapes({}))


def _schema(schemas: Mapping[str, Any], key: str) -> Schema:
    return {str(entry["name"]): entry for entry in schemas.get(key) or ()}


def _has_defaults(function: Any) -> bool:
    return "CoreML_InputDefaultValues" in function.attributes


# -- features ----------------------------------------------------------------------------------------------------------


def _feature(feature: Any, type_: Any, entry: Mapping[str, Any], shapes: _Shapes) -> None:
    feature.shortDescription = entry.get("shortDescription") or ""
    kind, tensor = type_.WhichOneof("type"), type_.tensorType
    dtype = MIL_DTYPES.get(tensor.dataType)
    if entry.get("type") == "Image":
        _image(feature.type.imageType, entry, shapes.of(feature.name))
    elif kind == "dictionaryType":
        strings = MIL_DTYPES.get(type_.dictionaryType.keyType.tensorType.dataType) == "string"
        getattr(feature.type.dictionaryType, "stringKeyType" if strings else "int64KeyType").SetInParent()
    elif dtype in ("string", "int64") and not tensor.dimensions:  # a classifier's label
        getattr(feature.type, "stringType" if dtype == "string" else "int64Type").SetInParent()
    elif kind == "tensorType":
        _array(feature.type.multiArrayType, tensor, entry, shapes, feature.name)
    else:
        raise ValueError(f"{feature.name!r} is of a kind that no feature has: {kind}")


def _array(into: Any, tensor: Any, entry: Mapping[str, Any], shapes: _Shapes, name: str) -> None:
    dtype = _ARRAYS.get(str(entry.get("dataType"))) or MIL_DTYPES.get(tensor.dataType, "")
    into.dataType = _CODES.get(dtype, _CODES["int32"])
    flexible = _Flexible(
        _sizes(entry.get("shape")), _sizes(entry.get("shapeRange")), _sizes(entry.get("enumeratedShapes"))
    ).or_else(shapes.of(name))
    fixed = [d.constant.size for d in tensor.dimensions if d.WhichOneof("dimension") == "constant"]
    whole = fixed if len(fixed) == len(tensor.dimensions) else []
    into.shape.extend(flexible.default or whole or (flexible.shapes[0] if flexible.shapes else ()))
    if flexible.shapes:
        for shape in flexible.shapes:
            into.enumeratedShapes.shapes.add().shape.extend(shape)
    elif flexible.ranges:
        for low, high in flexible.ranges:
            into.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)


def _image(into: Any, entry: Mapping[str, Any], flexible: _Flexible) -> None:
    """An image; sizes that its tensor [1, C, H, W] may have go before those of the schema."""
    into.width, into.height = int(entry["width"]), int(entry["height"])
    into.colorSpace = _COLOURS[entry["colorspace"]]
    enumerated = [(s[3], s[2]) for s in flexible.shapes] or _sizes(entry.get("enumeratedSizes"))
    ranges = flexible.ranges[:1:-1] or _sizes(entry.get("sizeRange"))
    if enumerated:
        for width, height in enumerated:
            into.enumeratedSizes.sizes.add(width=width, height=height)
    elif ranges:
        for side, (low, high) in zip(("widthRange", "heightRange"), ranges, strict=True):
            bounds = getattr(into.imageSizeRange, side)
            bounds.lowerBound, bounds.upperBound = low, high


def _optional(type_: Any, default: float | None) -> None:
    type_.isOptional = True
    if default is None or type_.WhichOneof("Type") != "multiArrayType":
        return
    array = type_.multiArrayType
    if ARRAY_DTYPES[array.dataType] == "fp64":
        array.doubleDefaultValue = default
    elif ARRAY_DTYPES[array.dataType].startswith("fp"):
        array.floatDefaultValue = default
    else:
        array.intDefaultValue = int(default)


# -- shapes ------------------------------------------------------------------------------------------------------------


class _Flexible:
    """A default shape, and either ranges of sizes or several shapes; each empty where it is not said."""

    def __init__(self, default: Any = (), ranges: Any = (), shapes: Any = ()) -> None:
        self.default, self.ranges, self.shapes = list(default), list(ranges), list(shapes)

    def or_else(self, other: _Flexible) -> _Flexible:
        """What this says, and where it says nothing, what the other does."""
        if self.ranges or self.shapes:
            return self
        return _Flexible(self.default or other.default, other.ranges, other.shapes)


class _Shapes:
    """The flexible shapes that a function's attribute gives to inputs."""

    def __init__(self, attributes: Any) -> None:
        found = attributes.get("FlexibleShapeInformation")
        parts = {} if found is None else dict(_plain(found))
        self._defaults = parts.get("DefaultShapes", {})
        self._ranges = parts.get("RangeDims", {})
        self._enumerated = list(parts.get("EnumeratedShapes", {}).values())  # each gives every input a shape

    def of(self, name: str) -> _Flexible:
        shapes = {tuple(given[name]): None for given in self._enumerated if name in given}
        return _Flexible(self._defaults.get(name, ()), self._ranges.get(name, ()), shapes)


def _sizes(text: Any) -> list[Any]:
    """A shape, or a list of them, that stands as JSON in a string: "[[1, 1], [1, 32000]]"."""
    if text is None:
        return []
    if not isinstance(text, str) or len(text) > _MOST_TEXT:
        raise ValueError("a shape is no text, or too long")
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError(f"{text[:80]!r} is no shape")
    return found


def _plain(value: Any) -> Any:
    """What a Value message says: dictionaries, lists and tuples of numbers and strings."""
    content = value.immediateValue
    kind = content.WhichOneof("value")
    if kind == "tensor":
        field = content.tensor.WhichOneof("value")
        values = list(getattr(content.tensor, field).values) if field else []
        return values if value.type.tensorType.dimensions else values[0]
    if kind == "dictionary":
        return {_plain(pair.key): _plain(pair.value) for pair in content.dictionary.values}
    if kind in ("list", "tuple"):
        return [_plain(v) for v in getattr(content, kind).values]
    raise ValueError("an attribute of the function has no value")
