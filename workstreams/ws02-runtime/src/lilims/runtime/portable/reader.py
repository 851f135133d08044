"""From the protobuf specification to `program.Program`.

Knows the messages of MIL.proto and that they are hostile: depth, sizes and names are checked here, values when they
are loaded. Must not know what any op does.

Literals are not read here: a `Constant` knows how to load itself, so a program of many gigabytes is read in
milliseconds.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import PackageError, UnsupportedError

from .blob import BITS, NUMPY_DTYPES, packed_size, unpack
from .package import Package
from .program import (
    Argument,
    Array,
    Block,
    Constant,
    DictType,
    Function,
    ListType,
    Op,
    Program,
    Ref,
    StateType,
    TensorType,
    Value,
    ValueType,
)
from .spec import MIL_DTYPES

__all__ = ["read_program", "read_signatures"]

_MAX_DEPTH = 16  # of blocks within blocks, types within types
_MAX_RANK = 16
_MAX_SIZE = (1 << 63) - 1  # int64, as a description and a graph have it
_NOT_NUMBERS = ("string",)


def read_program(package: Package) -> Program:
    """The ML Program of a package.

    Raises:
        PackageError: the specification contradicts itself.
        UnsupportedError: it is a pipeline, or uses types that the portable executor does not know.
    """
    return _read(package, whole=True)


def read_signatures(package: Package) -> Program:
    """As `read_program`, but functions hold only the operations that make their outputs.

    Who wants to know what a package takes and gives has it in a tenth of the time.
    """
    return _read(package, whole=False)


def _read(package: Package, *, whole: bool) -> Program:
    spec = package.spec
    if package.members:
        raise UnsupportedError(
            f"this is a pipeline of {len(package.members)} models, not one ML Program",
            where=package.path,
            hint="`lilims predict` and MLModel run it",
        )
    written = spec.mlProgram.functions  # a protobuf map, which has no order: the description's is taken
    described = [f.name for f in spec.description.functions if f.name in written]
    names = dict.fromkeys([*described, *sorted(written)])
    functions = {name: _Reader(package, name).function(written[name], whole=whole) for name in names}
    if not functions:
        raise PackageError("the program has no function", where=package.spec_path)
    default = spec.description.defaultFunctionName or ("main" if "main" in functions else next(iter(functions)))
    if default not in functions:
        raise PackageError(f"the default function {default!r} does not exist", where=package.spec_path)
    return Program(functions, default)


def _makers(operations: Any, wanted: set[str]) -> list[Any]:
    """The operations that make these values, in order. They are looked for from the end, where they mostly are."""
    found = []
    for op in reversed(operations):
        if not wanted:
            break
        made = wanted.intersection([output.name for output in op.outputs])
        if made:
            found.append(op)
            wanted -= made
    return found[::-1]


class _Reader:
    """Reads one function; keeps where it is for the errors."""

    def __init__(self, package: Package, where: str) -> None:
        self.package = package
        self.where = where

    def error(self, message: str) -> PackageError:
        return PackageError(message, where=f"{self.package.spec_path}, {self.where}", hint="the package is damaged")

    def function(self, spec: Any, *, whole: bool) -> Function:
        blocks = spec.block_specializations
        if spec.opset in blocks:
            opset = spec.opset
        elif len(blocks) == 1:
            opset = next(iter(blocks))
        else:
            raise self.error(f"the function has no block for its opset {spec.opset!r}")
        block = self.block(blocks[opset], 0, only=None if whole else frozenset(blocks[opset].outputs))
        return Function(self.where, opset, self.values(spec.inputs), block.ops, block.outputs)

    def block(self, spec: Any, depth: int, *, only: frozenset[str] | None = None) -> Block:
        """`only`: names of results; operations that make none of them are left out."""
        if depth > _MAX_DEPTH:
            raise self.error("blocks are nested too deep")
        wanted = spec.operations if only is None else _makers(spec.operations, set(only))
        ops = tuple(self.op(op, depth) for op in wanted)
        return Block(self.values(spec.inputs), ops, tuple(spec.outputs))

    def op(self, spec: Any, depth: int) -> Op:
        outputs = self.values(spec.outputs)
        attributes = {key: self.constant(value) for key, value in spec.attributes.items()}
        name = self.op_name(attributes.pop("name", None)) or (outputs[0].name if outputs else spec.type)
        inputs = {
            key: tuple(self.argument(binding, name) for binding in argument.arguments)
            for key, argument in spec.inputs.items()
        }
        if spec.type == "const" or spec.type.startswith("constexpr_"):
            inputs.update((key, (value,)) for key, value in attributes.items())
            attributes = {}
        blocks = tuple(self.block(block, depth + 1) for block in spec.blocks)
        return Op(spec.type, name, inputs, outputs, attributes, blocks)

    def op_name(self, constant: Constant | None) -> str:
        if constant is None or constant.type != TensorType("string") or constant.blob is not None:
            return ""
        return str(constant.load().item())

    def argument(self, spec: Any, op: str) -> Argument:
        kind = spec.WhichOneof("binding")
        if kind == "name":
            return Ref(spec.name)
        if kind == "value":
            return self.constant(spec.value)
        raise self.error(f"an input of op {op!r} is empty")

    # -- types -------------------------------------------------------------------------------------------------------

    def values(self, specs: Any) -> tuple[Value, ...]:
        return tuple(Value(spec.name, self.type(spec.type)) for spec in specs)

    def type(self, spec: Any) -> ValueType:
        kind = spec.WhichOneof("type")
        if kind == "tensorType":
            return self.tensor_type(spec)
        if kind == "stateType":
            return StateType(self.tensor_type(spec.stateType.wrappedType))
        if kind == "listType":
            return ListType(self.tensor_type(spec.listType.type), self.dimension(spec.listType.length))
        if kind == "dictionaryType":
            types = spec.dictionaryType
            return DictType(self.tensor_type(types.keyType), self.tensor_type(types.valueType))
        if kind == "tupleType":
            raise UnsupportedError("tuples are not known to the portable executor", where=self.where)
        raise self.error("a value has no type")

    def tensor_type(self, spec: Any) -> TensorType:
        if spec.WhichOneof("type") != "tensorType":
            raise self.error("a tensor's type is expected")
        tensor = spec.tensorType
        if len(tensor.dimensions) > _MAX_RANK:
            raise self.error(f"a tensor has {len(tensor.dimensions)} dimensions")
        dtype = MIL_DTYPES.get(tensor.dataType, f"type {tensor.dataType}")
        if dtype not in BITS and dtype not in _NOT_NUMBERS:
            raise UnsupportedError(f"element {dtype} is not known to the portable executor", where=self.where)
        return TensorType(dtype, tuple(self.dimension(d) for d in tensor.dimensions))

    def dimension(self, spec: Any) -> int | None:
        if spec.WhichOneof("dimension") != "constant":
            return None
        if spec.constant.size > _MAX_SIZE:
            raise self.error(f"a tensor has a dimension of {spec.constant.size}")
        return int(spec.constant.size)

    # -- literals ----------------------------------------------------------------------------------------------------

    def constant(self, spec: Any) -> Constant:
        kind = spec.WhichOneof("value")
        if kind == "blobFileValue":
            return self.blob_constant(spec)
        if kind != "immediateValue":
            raise self.error("a literal has no value")
        immediate = spec.immediateValue
        content = immediate.WhichOneof("value")
        if content == "tensor":
            return self.tensor_constant(self.tensor_type(spec.type), immediate.tensor)
        if content == "list":
            return self.list_constant(spec.type, immediate.list)
        raise UnsupportedError(f"literals of kind {content} are not known to the portable executor", where=self.where)

    def blob_constant(self, spec: Any) -> Constant:
        type_ = self.tensor_type(spec.type)
        shape = self.fixed(type_)
        file, offset = spec.blobFileValue.fileName, int(spec.blobFileValue.offset)
        return Constant(
            type_,
            load=lambda: self.package.blob_file(file).array(offset, type_.dtype, shape),
            raw=lambda: self.package.blob_file(file).raw(offset, type_.dtype, shape),
            blob=(file, offset),
        )

    def tensor_constant(self, type_: TensorType, spec: Any) -> Constant:
        shape = self.fixed(type_)
        kind = spec.WhichOneof("value")
        if kind == "bytes":
            return Constant(
                type_,
                load=lambda: unpack(self.packed(spec.bytes.values, type_, shape), type_.dtype, shape),
                raw=lambda: self.packed(spec.bytes.values, type_, shape),
            )
        if kind is None and 0 not in shape:
            raise self.error("a literal has no value")
        return Constant(type_, load=lambda: self.unpacked(getattr(spec, kind).values if kind else (), type_, shape))

    def list_constant(self, type_: Any, spec: Any) -> Constant:
        if type_.WhichOneof("type") != "listType":
            raise self.error("a list literal has another type")
        element = self.tensor_type(type_.listType.type)
        parts = [self.constant(value) for value in spec.values]
        if element.shape != () or any(part.type != element for part in parts):
            raise UnsupportedError("lists of anything but scalars of one type are not known here", where=self.where)

        def load() -> Array:
            return np.array([part.load().item() for part in parts], NUMPY_DTYPES.get(element.dtype, np.object_))

        return Constant(TensorType(element.dtype, (len(parts),)), load)

    def packed(self, data: bytes, type_: TensorType, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        if type_.dtype not in BITS or len(data) != packed_size(type_.dtype, shape):
            raise self.error(f"a literal of type {type_.dtype} {list(shape)} has {len(data)} bytes")
        return np.frombuffer(data, np.uint8)

    def unpacked(self, values: Any, type_: TensorType, shape: tuple[int, ...]) -> Array:
        if len(values) != prod(shape):
            raise self.error(f"a literal of type {type_.dtype} {list(shape)} has {len(values)} elements")
        if type_.dtype not in NUMPY_DTYPES:
            return np.array(values, np.object_).reshape(shape)
        stored, target = np.array(values), NUMPY_DTYPES[type_.dtype]
        if stored.dtype.kind not in "fiub" or (stored.dtype.kind != "f" and not _holds(target, stored)):
            raise self.error(f"a literal does not fit its type {type_.dtype}")
        return stored.astype(target).reshape(shape)

    def fixed(self, type_: TensorType) -> tuple[int, ...]:
        """The shape of a literal, which has no unknown dimension."""
        shape = tuple(d for d in type_.shape if d is not None)
        if len(shape) != type_.rank:
            raise self.error("a literal has an unknown dimension")
        return shape


def _holds(target: type[np.generic], stored: NDArray[np.generic]) -> bool:
    return bool(np.array_equal(stored.astype(target), stored))
