"""The protobuf messages of a Core ML model: those fields that are read here, built when this module is imported.

Knows field names and numbers, which are facts of the format (`mlmodel/format/{Model,FeatureTypes,MIL}.proto` in
coremltools). Must not know what they mean (reader.py does) or where the bytes come from (package.py does).

The messages live in a descriptor pool of their own under a package name of their own, so they never collide with
those that coremltools registers, and they need no generated code that has to fit the installed protobuf's version.
Fields that the table leaves out survive a parse as unknown fields. The kinds of model other than ML Programs and
pipelines are declared as bytes: a nested message and bytes look the same on the wire, so `WhichOneof("Type")` works.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from lilims.core.errors import PackageError

__all__ = ["ARRAY_DTYPES", "MIL_DTYPES", "new_message", "parse_model"]

_PACKAGE = "lilims.coreml"

# `Name:` opens a message; `field number type` follows; `*` repeats; `map<K,V>`; `(oneof)` after the type.
_TABLE = """
Model: specificationVersion 1 int32; description 2 ModelDescription; isUpdatable 10 bool
  pipelineClassifier 200 PipelineClassifier (Type); pipelineRegressor 201 PipelineRegressor (Type)
  pipeline 202 Pipeline (Type); glmRegressor 300 bytes (Type); supportVectorRegressor 301 bytes (Type)
  treeEnsembleRegressor 302 bytes (Type); neuralNetworkRegressor 303 bytes (Type)
  bayesianProbitRegressor 304 bytes (Type); glmClassifier 400 bytes (Type); supportVectorClassifier 401 bytes (Type)
  treeEnsembleClassifier 402 bytes (Type); neuralNetworkClassifier 403 bytes (Type)
  kNearestNeighborsClassifier 404 bytes (Type); neuralNetwork 500 bytes (Type)
  itemSimilarityRecommender 501 bytes (Type); mlProgram 502 Program (Type); customModel 555 bytes (Type)
  linkedModel 556 bytes (Type); classConfidenceThresholding 560 bytes (Type); oneHotEncoder 600 bytes (Type)
  imputer 601 bytes (Type); featureVectorizer 602 bytes (Type); dictVectorizer 603 bytes (Type)
  scaler 604 bytes (Type); categoricalMapping 606 bytes (Type); normalizer 607 bytes (Type)
  arrayFeatureExtractor 609 bytes (Type); nonMaximumSuppression 610 bytes (Type); identity 900 bytes (Type)
  textClassifier 2000 bytes (Type); wordTagger 2001 bytes (Type); visionFeaturePrint 2002 bytes (Type)
  soundAnalysisPreprocessing 2003 bytes (Type); gazetteer 2004 bytes (Type); wordEmbedding 2005 bytes (Type)
  audioFeaturePrint 2006 bytes (Type); serializedModel 3000 bytes (Type)
Pipeline: models 1 *Model; names 2 *string
PipelineClassifier: pipeline 1 Pipeline
PipelineRegressor: pipeline 1 Pipeline
ModelDescription: input 1 *FeatureDescription; output 10 *FeatureDescription; predictedFeatureName 11 string
  predictedProbabilitiesName 12 string; state 13 *FeatureDescription; functions 20 *FunctionDescription
  defaultFunctionName 21 string; metadata 100 Metadata
FunctionDescription: name 1 string; input 2 *FeatureDescription; output 3 *FeatureDescription
  predictedFeatureName 4 string; predictedProbabilitiesName 5 string; state 6 *FeatureDescription
Metadata: shortDescription 1 string; versionString 2 string; author 3 string; license 4 string
  userDefined 100 map<string,string>
FeatureDescription: name 1 string; shortDescription 2 string; type 3 FeatureType
FeatureType: int64Type 1 Empty (Type); doubleType 2 Empty (Type); stringType 3 Empty (Type)
  imageType 4 ImageFeatureType (Type); multiArrayType 5 ArrayFeatureType (Type)
  dictionaryType 6 DictionaryFeatureType (Type); sequenceType 7 bytes (Type); stateType 8 StateFeatureType (Type)
  isOptional 1000 bool
Empty:
DictionaryFeatureType: int64KeyType 1 Empty (KeyType); stringKeyType 2 Empty (KeyType)
StateFeatureType: arrayType 1 ArrayFeatureType (Type)
ArrayFeatureType: shape 1 *int64; dataType 2 int32; enumeratedShapes 21 EnumeratedShapes (ShapeFlexibility)
  shapeRange 31 ShapeRange (ShapeFlexibility); intDefaultValue 41 int32 (defaultOptionalValue)
  floatDefaultValue 51 float (defaultOptionalValue); doubleDefaultValue 61 double (defaultOptionalValue)
Shape: shape 1 *int64
EnumeratedShapes: shapes 1 *Shape
ShapeRange: sizeRanges 1 *SizeRange
SizeRange: lowerBound 1 uint64; upperBound 2 int64
ImageFeatureType: width 1 int64; height 2 int64; colorSpace 3 int32
  enumeratedSizes 21 EnumeratedImageSizes (SizeFlexibility); imageSizeRange 31 ImageSizeRange (SizeFlexibility)
ImageSize: width 1 uint64; height 2 uint64
EnumeratedImageSizes: sizes 1 *ImageSize
ImageSizeRange: widthRange 1 SizeRange; heightRange 2 SizeRange

Program: version 1 int64; functions 2 map<string,Function>; docString 3 string; attributes 4 map<string,Value>
Function: inputs 1 *NamedValueType; opset 2 string; block_specializations 3 map<string,Block>
  attributes 4 map<string,Value>
Block: inputs 1 *NamedValueType; outputs 2 *string; operations 3 *Operation; attributes 4 map<string,Value>
Operation: type 1 string; inputs 2 map<string,Argument>; outputs 3 *NamedValueType; blocks 4 *Block
  attributes 5 map<string,Value>
Argument: arguments 1 *Binding
Binding: name 1 string (binding); value 2 Value (binding)
NamedValueType: name 1 string; type 2 ValueType
ValueType: tensorType 1 TensorType (type); listType 2 ListType (type); tupleType 3 TupleType (type)
  dictionaryType 4 DictionaryType (type); stateType 5 StateType (type)
TensorType: dataType 1 int32; rank 2 int64; dimensions 3 *Dimension; attributes 4 map<string,Value>
TupleType: types 1 *ValueType
ListType: type 1 ValueType; length 2 Dimension
DictionaryType: keyType 1 ValueType; valueType 2 ValueType
StateType: wrappedType 1 ValueType
Dimension: constant 1 ConstantDimension (dimension); unknown 2 UnknownDimension (dimension)
ConstantDimension: size 1 uint64
UnknownDimension: variadic 1 bool
Value: docString 1 string; type 2 ValueType; immediateValue 3 ImmediateValue (value)
  blobFileValue 5 BlobFileValue (value)
ImmediateValue: tensor 1 TensorValue (value); tuple 2 TupleValue (value); list 3 ListValue (value)
  dictionary 4 DictionaryValue (value)
BlobFileValue: fileName 1 string; offset 2 uint64
TensorValue: floats 1 RepeatedFloats (value); ints 2 RepeatedInts (value); bools 3 RepeatedBools (value)
  strings 4 RepeatedStrings (value); longInts 5 RepeatedLongInts (value); doubles 6 RepeatedDoubles (value)
  bytes 7 RepeatedBytes (value)
RepeatedFloats: values 1 *float
RepeatedDoubles: values 1 *double
RepeatedInts: values 1 *int32
RepeatedLongInts: values 1 *int64
RepeatedBools: values 1 *bool
RepeatedStrings: values 1 *string
RepeatedBytes: values 1 bytes
TupleValue: values 1 *Value
ListValue: values 1 *Value
DictionaryValue: values 1 *KeyValuePair
KeyValuePair: key 1 Value; value 2 Value
"""

# MIL.proto, enum DataType: what program.TensorType calls each.
MIL_DTYPES: dict[int, str] = {
    1: "bool", 2: "string", 10: "fp16", 11: "fp32", 12: "fp64", 13: "bf16", 21: "int8", 22: "int16", 23: "int32",
    24: "int64", 25: "int4", 31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64", 35: "uint4", 36: "uint2",
    37: "uint1", 38: "uint6", 39: "uint3", 40: "fp8e4m3fn", 41: "fp8e5m2",
}  # fmt: skip

# FeatureTypes.proto, enum ArrayFeatureType.ArrayDataType.
ARRAY_DTYPES: dict[int, str] = {65552: "fp16", 65568: "fp32", 65600: "fp64", 131080: "int8", 131104: "int32"}

_SCALARS = {
    name: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint64")
}


def _add_field(message: Any, declaration: str) -> None:
    words = declaration.split()
    name, number, kind = words[:3]
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if kind.startswith(("*", "map<")) else field.LABEL_OPTIONAL
    if kind.startswith("map<"):
        key, value = kind[4:-1].split(",")
        camel = "".join(word[0].upper() + word[1:] for word in name.split("_"))  # the name protobuf demands
        entry = message.nested_type.add(name=f"{camel}Entry")
        entry.options.map_entry = True
        _add_field(entry, f"key 1 {key}")
        _add_field(entry, f"value 2 {value}")
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{message.name}.{entry.name}"
    elif (kind := kind.lstrip("*")) in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    if len(words) == 4:
        oneof = words[3].strip("()")
        names = [o.name for o in message.oneof_decl]
        if oneof not in names:
            message.oneof_decl.add(name=oneof)
            names.append(oneof)
        field.oneof_index = names.index(oneof)


def _build(table: str) -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="lilims/coreml.proto", package=_PACKAGE, syntax="proto3")
    for line in filter(None, table.splitlines()):
        if not line.startswith(" "):
            name, _, line = line.partition(":")
            message = file.message_type.add(name=name)
        for declaration in filter(None, map(str.strip, line.split(";"))):
            _add_field(message, declaration)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{m.name}"))
        for m in file.message_type
    }


_MESSAGES = _build(_TABLE)


def new_message(name: str, /, **fields: Any) -> Any:
    """An empty message of that name, such as "Model" or "Value", with some fields set."""
    return _MESSAGES[name](**fields)


def parse_model(data: bytes, *, where: str) -> Any:
    """A `Model` message from the bytes of a `model.mlmodel` file.

    Raises:
        PackageError: the bytes are not such a message, or nest deeper than protobuf allows.
    """
    model = new_message("Model")
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError, MemoryError) as exc:
        raise PackageError(
            f"not a Core ML model specification ({exc})",
            where=where,
            hint="the file is damaged, cut short or encrypted",
        ) from exc
    return model
