"""An ML Program as plain data: functions, ops, values, types.

Knows what a program says. Must not know protobuf (spec.py reads it), ONNX (lowering/ makes it) or how anything runs.
Source of the format: `mlmodel/format/MIL.proto` in coremltools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MALFORMED",
    "Argument",
    "Block",
    "Constant",
    "DictType",
    "Function",
    "ListType",
    "Op",
    "Program",
    "Ref",
    "StateType",
    "TensorType",
    "Value",
    "ValueType",
]

Array = NDArray[np.generic]

# What code that believes a program raises where the program contradicts itself.
MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class TensorType:
    """A tensor's element type and shape.

    `dtype` is one of fp16 fp32 fp64 bool string int4 int8 int16 int32 int64 uint1 uint2 uint3 uint4 uint6 uint8 uint16
    uint32 uint64. A dimension that is not fixed is None. A scalar has the shape ().
    """

    dtype: str
    shape: tuple[int | None, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype in ("fp16", "fp32", "fp64")


@dataclass(frozen=True)
class StateType:
    """A state: a buffer that outlives a call, read by `read_state` and written by `write_state`."""

    tensor: TensorType


@dataclass(frozen=True)
class ListType:
    """A list of tensors of one type; `length` is None where it is not fixed."""

    element: TensorType
    length: int | None = None


@dataclass(frozen=True)
class DictType:
    """A dictionary, as `classify` gives: a class to its probability."""

    key: TensorType
    value: TensorType


ValueType = TensorType | StateType | ListType | DictType


@dataclass(frozen=True)
class Value:
    """A named value: a function's input, or one output of an op."""

    name: str
    type: ValueType


@dataclass(frozen=True)
class Ref:
    """An argument that names a value computed earlier."""

    name: str


@dataclass(frozen=True)
class Constant:
    """A literal, in the spec itself or in the blob file; `load` gives the array.

    Sub-byte types arrive unpacked, one element a byte (int4 as int8, uint1..uint6 as uint8). `raw` gives the packed
    bytes, mapped and not copied where they lie in the blob file. fp16 arrives as float16, strings as an object array.
    """

    type: TensorType
    load: Callable[[], Array] = field(repr=False, compare=False)
    raw: Callable[[], NDArray[np.uint8]] | None = field(default=None, repr=False, compare=False)
    blob: tuple[str, int] | None = None  # file and offset of the metadata record, the identity of shared weights


Argument = Ref | Constant


@dataclass(frozen=True)
class Block:
    """A nested body (`cond`, `while_loop`): inputs, ops, names of its outputs."""

    inputs: tuple[Value, ...]
    ops: tuple[Op, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Op:
    """One operation. `inputs` holds a tuple for every key, as variadic inputs (`concat`'s `values`) need one.

    Parameters that the format writes as attributes (of the iOS 16 `constexpr_*` ops) stand among `inputs`, as does
    the literal of a `const` op, under "val".
    """

    type: str
    name: str
    inputs: dict[str, tuple[Argument, ...]]
    outputs: tuple[Value, ...]
    attributes: dict[str, Constant] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()

    def refs(self) -> Iterator[str]:
        """Names of the values that this op itself reads (its blocks' reads are not included)."""
        for arguments in self.inputs.values():
            for argument in arguments:
                if isinstance(argument, Ref):
                    yield argument.name

    def with_inputs(self, **inputs: tuple[Argument, ...]) -> Op:
        """The same op with some inputs replaced."""
        return replace(self, inputs={**self.inputs, **inputs})


@dataclass(frozen=True)
class Function:
    """One function of a program. `opset` is the name of its block specialisation, such as CoreML7 or CoreML8."""

    name: str
    opset: str
    inputs: tuple[Value, ...]
    ops: tuple[Op, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """All functions of an ML Program."""

    functions: dict[str, Function]
    default_function: str
