"""What a package holds, as plain data: functions, inputs, outputs, states, ops, weights by scheme.

Knows the IR and the names that quantisation schemes go by. Must not print, and must not need ONNX.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from math import prod
from os import PathLike
from typing import Any

from lilims.core.errors import PackageError

from .blob import packed_size
from .package import Package
from .program import (
    MALFORMED,
    Argument,
    Constant,
    Function,
    ListType,
    Op,
    Program,
    Ref,
    StateType,
    TensorType,
    ValueType,
)
from .reader import read_program
from .spec import ARRAY_DTYPES

__all__ = ["FeatureInfo", "FunctionInfo", "PackageInfo", "WeightGroup", "describe_package", "describe_program"]

# Input that holds the codes, and the scheme's stem, of each constexpr op.
_CODES = {
    "constexpr_affine_dequantize": "quantized_data",
    "constexpr_blockwise_shift_scale": "data",
    "constexpr_sparse_blockwise_shift_scale": "nonzero_data",
    "constexpr_lut_to_dense": "indices",
    "constexpr_lut_to_sparse": "indices_nonzero_data",
    "constexpr_sparse_to_dense": "nonzero_data",
    "constexpr_cast": "source_val",
}


@dataclass(frozen=True)
class FeatureInfo:
    """An input, output or state. A flexible dimension is None; a type that is no tensor has its kind as dtype."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class FunctionInfo:
    """A function; `ops` counts op types, literals left out, most frequent first."""

    name: str
    opset: str
    inputs: tuple[FeatureInfo, ...]
    outputs: tuple[FeatureInfo, ...]
    states: tuple[FeatureInfo, ...]
    ops: dict[str, int]


@dataclass(frozen=True)
class WeightGroup:
    """Weights of one scheme, such as "fp16", "int8 per-channel", "int4 block 32" or "lut-4 per-tensor".

    `parameters` counts elements after decompression, `bytes` all that is stored for them, scales and tables included.
    """

    scheme: str
    tensors: int
    parameters: int
    bytes: int

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.bytes / self.parameters if self.parameters else 0.0


@dataclass(frozen=True)
class PackageInfo:
    """A package. Weights that several functions share are counted once; states of one name are one state.

    A pipeline has the names of its models in `members`; its functions are they, MEMBER or MEMBER/FUNCTION, after one
    without ops, `pipeline`, that is what goes in and comes out of it all.
    """

    path: str
    specification_version: int
    description: str
    author: str
    license: str
    version: str
    metadata: dict[str, str]
    default_function: str
    functions: tuple[FunctionInfo, ...]
    weights: tuple[WeightGroup, ...]
    members: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return sum(group.parameters for group in self.weights)

    @property
    def weight_bytes(self) -> int:
        return sum(group.bytes for group in self.weights)

    @property
    def state_bytes(self) -> int:
        states = {state.name: state for function in self.functions for state in function.states}
        return sum(packed_size(s.dtype, tuple(d or 0 for d in s.shape)) for s in states.values())

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON holds it, totals included."""
        result = asdict(self)
        for group, entry in zip(self.weights, result["weights"], strict=True):
            entry["bits_per_weight"] = group.bits_per_weight
        totals = {"parameters": self.parameters, "weight_bytes": self.weight_bytes, "state_bytes": self.state_bytes}
        return {**result, **totals}


def describe_package(path: str | PathLike[str]) -> PackageInfo:
    """Describes a package; reads the specification only, no weights.

    Raises:
        PackageError: the package is damaged.
        UnsupportedError: it is not an ML Program, or a pipeline of such.
    """
    package = Package(path)
    program = _joined(package) if package.members else read_program(package)
    description, metadata = package.spec.description, package.spec.description.metadata
    functions = list(program.functions.values())
    if not package.members:
        functions.sort(key=lambda f: (f.name != program.default_function, f.name))
    whole = [_whole(description)] if package.members else []
    return PackageInfo(
        path=str(package.path),
        specification_version=int(package.spec.specificationVersion),
        description=str(metadata.shortDescription),
        author=str(metadata.author),
        license=str(metadata.license),
        version=str(metadata.versionString),
        metadata=dict(description.metadata.userDefined),
        default_function=program.default_function,
        functions=(*whole, *(_function(function) for function in functions)),
        weights=describe_program(program),
        members=tuple(package.members),
    )


def _joined(package: Package) -> Program:
    """The programs of a pipeline's members as one, of functions MEMBER or MEMBER/FUNCTION."""
    functions = {}
    for member, part in package.members.items():
        program = read_program(part)
        for name, function in program.functions.items():
            own = member if len(program.functions) == 1 else f"{member}/{name}"
            functions[own] = replace(function, name=own)
    return Program(functions, "")


def _whole(description: Any) -> FunctionInfo:
    """What a pipeline takes and gives, as its description says."""
    inputs, outputs = (tuple(map(_described, kind)) for kind in (description.input, description.output))
    return FunctionInfo("pipeline", "", inputs, outputs, (), {})


def _described(feature: Any) -> FeatureInfo:
    kind = str(feature.type.WhichOneof("Type"))
    if kind == "imageType":
        image = feature.type.imageType
        return FeatureInfo(feature.name, "image", (int(image.height), int(image.width)))
    if kind != "multiArrayType":
        return FeatureInfo(feature.name, kind.removesuffix("Type"), ())
    array = feature.type.multiArrayType
    shape: list[int | None] = [int(size) for size in array.shape]
    for axis, sizes in enumerate(array.shapeRange.sizeRanges[: len(shape)]):
        if sizes.lowerBound != sizes.upperBound:
            shape[axis] = None
    return FeatureInfo(feature.name, ARRAY_DTYPES.get(array.dataType, "?"), tuple(shape))


def describe_program(program: Program) -> tuple[WeightGroup, ...]:
    """The weights of a program by scheme, largest group first.

    Raises:
        PackageError: a compressed weight contradicts itself.
    """
    try:
        return _groups(program)
    except MALFORMED as exc:
        message = f"a compressed weight contradicts itself ({type(exc).__name__}: {exc})"
        raise PackageError(message, hint="the package is damaged") from exc


def _groups(program: Program) -> tuple[WeightGroup, ...]:
    found: dict[tuple[Any, ...], tuple[str, int, int]] = {}
    for function in program.functions.values():
        makers = {output.name: op for op in function.ops for output in op.outputs}
        for op, literals in _weights(function, makers):
            key = tuple(sorted(str(c.blob) for c in literals if c.blob)) or (function.name, op.outputs[-1].name)
            found.setdefault(key, _measured(op, literals, makers))
    groups: dict[str, list[tuple[int, int]]] = {}
    for scheme, parameters, size in found.values():
        groups.setdefault(scheme, []).append((parameters, size))
    result = [
        WeightGroup(scheme, len(sizes), sum(p for p, _ in sizes), sum(s for _, s in sizes))
        for scheme, sizes in groups.items()
    ]
    return tuple(sorted(result, key=lambda group: -group.bytes))


def _every(ops: Iterable[Op]) -> Iterator[Op]:
    """Ops, and those of their bodies."""
    for op in ops:
        yield op
        for block in op.blocks:
            yield from _every(block.ops)


def _function(function: Function) -> FunctionInfo:
    types = {value.name: value.type for op in function.ops for value in op.outputs}
    types.update((value.name, value.type) for value in function.inputs)
    ops = Counter(op.type for op in _every(function.ops) if op.type != "const")
    return FunctionInfo(
        function.name,
        function.opset,
        tuple(_feature(v.name, v.type) for v in function.inputs if not isinstance(v.type, StateType)),
        tuple(_feature(name, types.get(name)) for name in function.outputs),
        tuple(_feature(v.name, v.type) for v in function.inputs if isinstance(v.type, StateType)),
        dict(sorted(ops.items(), key=lambda item: (-item[1], item[0]))),
    )


def _feature(name: str, type_: ValueType | None) -> FeatureInfo:
    if isinstance(type_, StateType):
        type_ = type_.tensor
    if isinstance(type_, TensorType):
        return FeatureInfo(name, type_.dtype, type_.shape)
    return FeatureInfo(name, "list" if isinstance(type_, ListType) else "dictionary", ())


# -- weights -----------------------------------------------------------------------------------------------------------


def _weights(function: Function, makers: dict[str, Op]) -> Iterator[tuple[Op, list[Constant]]]:
    """Each weight's last op (a `const` with a blob, or a constexpr no other takes) and all literals behind it."""
    inner = {ref for op in function.ops if op.type in _CODES for ref in op.refs()}

    def literals(op: Op) -> Iterator[Constant]:
        for argument in (a for given in op.inputs.values() for a in given):
            if isinstance(argument, Constant):
                yield argument
            elif argument.name in makers and makers[argument.name].type in (*_CODES, "const"):
                yield from literals(makers[argument.name])

    for op in function.ops:
        taken = any(output.name in inner for output in op.outputs)
        if op.type in _CODES and not taken:
            yield op, list({id(c): c for c in literals(op)}.values())
        elif op.type == "const" and not taken:
            literal = op.inputs["val"][0]
            if isinstance(literal, Constant) and literal.blob is not None:
                yield op, [literal]


def _measured(op: Op, literals: list[Constant], makers: dict[str, Op]) -> tuple[str, int, int]:
    """Scheme, parameters and bytes of a weight."""
    output = op.outputs[-1].type
    parameters = prod(d or 0 for d in output.shape) if isinstance(output, TensorType) else 0
    size = sum(_bytes(constant) for constant in literals)
    return _scheme(op, makers), parameters, size


def _bytes(constant: Constant) -> int:
    if constant.type.dtype == "string":
        return 0
    return packed_size(constant.type.dtype, tuple(d or 0 for d in constant.type.shape))


def _scheme(op: Op, makers: dict[str, Op]) -> str:
    if op.type == "const":
        literal = op.inputs["val"][0]
        return literal.type.dtype if isinstance(literal, Constant) else "?"
    codes, within = _resolve(op, _CODES[op.type], makers)
    if op.type == "constexpr_cast":
        return codes.dtype
    if op.type == "constexpr_sparse_to_dense":
        return f"sparse {within or codes.dtype}"
    if op.type.startswith("constexpr_lut"):
        lut, nested = _resolve(op, "lut", makers)
        palettes = (lut.shape[-2] if lut.rank > 2 else lut.shape[0]) or 1
        stem = f"lut-{(palettes - 1).bit_length()} {_granularity(codes, lut.shape[:-2] if lut.rank > 2 else ())}"
        return f"{stem}, table {nested}" if nested else stem
    scale, _ = _resolve(op, "scale", makers)
    offset = ", offset" if op.inputs.get("offset") else ""
    if op.type == "constexpr_affine_dequantize":
        return f"{codes.dtype} {'per-channel' if scale.rank and scale.shape != (1,) else 'per-tensor'}"
    outer = f"{_granularity(codes, scale.shape)}{offset}"
    return f"{within} scaled {outer}" if within else f"{codes.dtype} {outer}"


def _resolve(op: Op, key: str, makers: dict[str, Op]) -> tuple[TensorType, str]:
    """The type of an input, and its own scheme where it is another constexpr op's result."""
    argument: Argument = op.inputs[key][0]
    if isinstance(argument, Ref):
        maker = makers[argument.name]
        if maker.type != "const":
            output = next(v.type for v in maker.outputs if v.name == argument.name)
            return output if isinstance(output, TensorType) else TensorType("?"), _scheme(maker, makers)
        argument = maker.inputs["val"][0]
    return (argument.type if isinstance(argument, Constant) else TensorType("?")), ""


def _granularity(codes: TensorType, groups: tuple[int | None, ...]) -> str:
    """How scales or tables are shared: "per-tensor", "per-channel", "block 32" or "blocks 4x32"."""
    if prod(g or 1 for g in groups) == 1:
        return "per-tensor"
    if len(groups) != codes.rank:
        return "grouped"
    sizes = [(d or 1) // (g or 1) for d, g in zip(codes.shape, groups, strict=True)]
    divided = [axis for axis, g in enumerate(groups) if (g or 1) > 1]
    if len(divided) == 1:
        size = sizes[divided[0]]
        return "per-channel" if size == 1 else f"group {size}"
    if all(size == 1 for size in sizes[:-1]):
        return f"block {sizes[-1]}"
    return f"blocks {'x'.join(map(str, sizes))}"
