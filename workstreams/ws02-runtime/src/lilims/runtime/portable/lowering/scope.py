"""What the lowering of one op may use: its arguments, the ONNX graph so far, the precision.

Knows names, types and constants of one function being lowered. Must not know any particular op (ops/ do) or how the
finished graph is run (session.py does).

Types: MIL fp16 and fp32 are both float32 in the ONNX graph. Where a device would round to fp16 is decided here, in
`bind`, once for all ops: never with "fast" and "exact", after every op with "fp16". Explicit casts to fp16 and writes
to an fp16 state round in every precision, by `round_fp16`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import helper, numpy_helper

from lilims.core.errors import PackageError, UnsupportedOpError

from ..blob import NUMPY_DTYPES, packed_size
from ..program import MALFORMED, Array, Constant, Function, ListType, Op, Ref, StateType, TensorType, ValueType
from .dtypes import ONNX_DTYPES, Precision

__all__ = ["LOWERINGS", "NATIVE_DOMAIN", "ONNX_DTYPES", "Deferred", "Lowering", "Precision", "Scope", "lowers"]

Lowering = Callable[["Scope", Op], None]

LOWERINGS: dict[str, Lowering] = {}

NATIVE_DOMAIN = "lilims"  # of the ops that lilims-kernels has

_MISSING: Any = object()
_EAGER = 1 << 16  # bytes: larger weights are made when they are needed, one by one


@dataclass(frozen=True)
class Deferred:
    """A weight that is not loaded yet: what it will be, and how to make it, anew at each call.

    Attributes:
        stored: the literal whose bytes in the package it is, as they lie there; None where it is made of some.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    load: Callable[[], Array]
    stored: Constant | None = None

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def lowers(*op_types: str) -> Callable[[Lowering], Lowering]:
    """Registers a function as the lowering of these MIL op types."""

    def register(function: Lowering) -> Lowering:
        for op_type in op_types:
            if op_type in LOWERINGS:
                raise ValueError(f"{op_type} has a lowering already")
            LOWERINGS[op_type] = function
        return function

    return register


@dataclass
class Scope:
    """The lowering of one function (or block) in progress."""

    function: Function
    precision: Precision = "exact"
    kernels: bool = False  # whether the ops of lilims-kernels may be used
    standard: bool = False  # whether the graph is for a file: small, and of ONNX's own ops where they do as much
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, Array] = field(default_factory=dict)
    deferred: dict[str, Deferred] = field(default_factory=dict)  # initializers too large to be loaded now
    names: dict[str, str] = field(default_factory=dict)  # MIL value -> ONNX value
    types: dict[str, ValueType] = field(default_factory=dict)  # MIL value -> MIL type
    constants: dict[str, Constant] = field(default_factory=dict)  # MIL value -> literal
    states: dict[str, str] = field(default_factory=dict)  # MIL state -> ONNX value that holds its newest content
    prologue: list[onnx.NodeProto] = field(default_factory=list)  # what comes before all nodes, of bodies too
    unpacked: dict[int, Callable[[Scope], str]] = field(default_factory=dict)  # id of a constant -> makes it of codes
    rounded: list[tuple[Op, str, str]] = field(default_factory=list)  # op, its result before and after rounding
    literals: dict[int, str] = field(default_factory=dict)  # id of a constant that is there as an initializer -> name
    nested: bool = False  # whether this is the body of an op
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    # -- arguments of an op ------------------------------------------------------------------------------------

    def has(self, op: Op, key: str) -> bool:
        """Whether the op was given this optional input."""
        return bool(op.inputs.get(key))

    def input(self, op: Op, key: str) -> str:
        """The ONNX value of the op's input `key`; constants become initializers."""
        return self.inputs(op, key)[0]

    def inputs(self, op: Op, key: str) -> list[str]:
        """The ONNX values of a variadic input."""
        arguments = op.inputs.get(key)
        if not arguments:
            raise PackageError(f"op {op.type} lacks its input {key!r}", where=op.name)
        return [self.value(argument) for argument in arguments]

    def type(self, op: Op, key: str) -> TensorType:
        """The MIL type of the op's input `key`."""
        if not op.inputs.get(key):
            raise PackageError(f"op {op.type} lacks its input {key!r}", where=f"{self.function.name}/{op.name}")
        argument = op.inputs[key][0]
        if isinstance(argument, Ref) and argument.name not in self.types:
            raise PackageError(f"value {argument.name!r} is used before it is computed", where=self.function.name)
        found = argument.type if isinstance(argument, Constant) else self.types[argument.name]
        if isinstance(found, StateType):
            return found.tensor
        if isinstance(found, ListType):  # a tensor that holds its elements one after the other
            return TensorType(found.element.dtype, (None, *found.element.shape))
        if not isinstance(found, TensorType):
            raise UnsupportedOpError(
                f"op {op.type} ({self.function.opset}) has an input {key!r} that is no tensor",
                where=f"{self.function.name}/{op.name}",
            )
        return found

    def is_constant(self, op: Op, key: str) -> bool:
        """Whether the op's input `key` is known before running."""
        return all(isinstance(a, Constant) or a.name in self.constants for a in op.inputs.get(key, ()))

    def constant(self, op: Op, key: str, default: Any = _MISSING) -> Any:
        """The value of an input that must be known before running, as an array of its MIL type.

        Raises:
            UnsupportedOpError: the value is computed at run time.
            PackageError: the input is absent and there is no default.
        """
        arguments = op.inputs.get(key)
        if not arguments:
            if default is _MISSING:
                raise PackageError(f"op {op.type} lacks its input {key!r}", where=op.name)
            return default
        loaded = [self._literal_of(op, key, argument).load() for argument in arguments]
        return loaded[0] if len(loaded) == 1 else loaded

    def scalar(self, op: Op, key: str, default: Any = _MISSING) -> Any:
        """Like `constant`, as a Python scalar (str, bool, int or float)."""
        value = self.constant(op, key, default)
        return value.item() if isinstance(value, np.ndarray) else value

    def ints(self, op: Op, key: str, default: Any = _MISSING) -> Any:
        """Like `constant`, as a list of int (or the default as it is)."""
        value = self.constant(op, key, default)
        return [int(v) for v in np.atleast_1d(value)] if isinstance(value, np.ndarray) else value

    def literal_of(self, op: Op, key: str) -> Constant:
        """The literal that an input is, not loaded yet. Raises as `constant` does."""
        arguments = op.inputs.get(key)
        if not arguments:
            raise PackageError(f"op {op.type} lacks its input {key!r}", where=op.name)
        return self._literal_of(op, key, arguments[0])

    def _literal_of(self, op: Op, key: str, argument: Ref | Constant) -> Constant:
        if isinstance(argument, Constant):
            return argument
        if argument.name not in self.constants:
            raise UnsupportedOpError(
                f"op {op.type} ({self.function.opset}) has an input {key!r} that is computed at run time",
                where=f"{self.function.name}/{op.name}",
                hint="only constants are supported there",
            )
        return self.constants[argument.name]

    def value(self, argument: Ref | Constant) -> str:
        """The ONNX value of an argument."""
        if isinstance(argument, Ref):
            if argument.name in self.names:
                return self.names[argument.name]
            if argument.name not in self.constants:
                raise PackageError(f"value {argument.name!r} is used before it is computed", where=self.function.name)
            constant = self.constants[argument.name]
            if id(constant) not in self.literals:
                self.literals[id(constant)] = self.literal(constant)
            self.names[argument.name] = self.literals[id(constant)]
            return self.names[argument.name]
        return self.literal(argument)

    def state(self, name: str) -> str:
        """The ONNX value of a state's newest content; the graph's input for it, before the first write."""
        return self.states.setdefault(name, f"state:{name}")

    # -- the graph -----------------------------------------------------------------------------------------------

    def literal(self, constant: Constant) -> str:
        """A MIL literal as an initializer of its ONNX type, or made of its codes where `unpacked` has it."""
        if id(constant) in self.unpacked:
            return self.unpacked[id(constant)](replace(self, nodes=self.prologue))
        dtype, shape = ONNX_DTYPES[constant.type.dtype], tuple(size or 0 for size in constant.type.shape)
        return self.later(lambda: constant.load().astype(dtype, copy=False), shape, dtype)

    def later(self, load: Callable[[], Array], shape: tuple[int, ...], dtype: DTypeLike) -> str:
        """An initializer of that shape and type, which `load` makes; where it is large, not before it is needed."""
        weight = Deferred(np.dtype(dtype), shape, self._checked(load))
        if weight.nbytes <= _EAGER:
            return self.array(load())
        name = self.fresh("const")
        self.deferred[name] = weight
        return name

    def stored(self, constant: Constant) -> str:
        """A literal's bytes as they are stored: fp16 and fp32 of its shape, anything else as uint8 [bytes].

        Where they lie in the package's blob file they are neither copied nor kept anywhere else.
        """
        is_float = constant.type.dtype in ("fp16", "fp32")
        load = constant.load if is_float or constant.raw is None else constant.raw
        shape = tuple(size or 0 for size in constant.type.shape)
        dtype = np.dtype(NUMPY_DTYPES[constant.type.dtype] if is_float else np.uint8)
        size = shape if is_float else (packed_size(constant.type.dtype, shape),)
        stored = constant if constant.blob is not None and constant.raw is not None else None
        weight = Deferred(dtype, size, self._checked(load), stored)
        if weight.nbytes <= _EAGER:
            return self.array(weight.load())
        name = self.fresh("const")
        self.deferred[name] = weight
        return name

    def _checked(self, load: Callable[[], Array]) -> Callable[[], Array]:
        def loaded() -> Array:
            try:
                return load()
            except MALFORMED as exc:
                message = f"a weight contradicts itself ({type(exc).__name__}: {exc})"
                raise PackageError(message, where=self.function.name, hint="the package is damaged") from exc

        return loaded

    def array(self, array: Any, dtype: Any = None) -> str:
        """An array as an initializer; `ints` for shapes and axes are int64 as ONNX wants them."""
        value = np.asarray(array, dtype=dtype)
        name = self.fresh("const")
        self.initializers[name] = value
        return name

    def emit(self, onnx_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Appends a node with one output and returns that value's name. An absent optional input is ""."""
        return self.emit_many(onnx_type, *inputs, outputs=1, domain=domain, **attributes)[0]

    def emit_many(
        self, onnx_type: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any
    ) -> tuple[str, ...]:
        """Appends a node with several outputs and returns their names."""
        names = tuple(self.fresh(onnx_type) for _ in range(outputs))
        attributes = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(helper.make_node(onnx_type, list(inputs), list(names), domain=domain, **attributes))
        return names

    def cast(self, value: str, dtype: str) -> str:
        """`value` as the ONNX type that holds the MIL type `dtype`."""
        return self.emit("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(ONNX_DTYPES[dtype])))

    def round_fp16(self, value: str) -> str:
        """A float32 value rounded to the nearest fp16 (overflow gives an infinity, as on a device)."""
        half = self.emit("Cast", value, to=onnx.TensorProto.FLOAT16)
        return self.emit("Cast", half, to=onnx.TensorProto.FLOAT)

    def bind(self, op: Op, *values: str) -> None:
        """Names the results of an op; with precision "fp16" they are rounded as a device would."""
        if len(values) != len(op.outputs):
            raise PackageError(f"op {op.type} has {len(op.outputs)} outputs, not {len(values)}", where=op.name)
        for output, value in zip(op.outputs, values, strict=True):
            rounds = self.precision == "fp16" and isinstance(output.type, TensorType) and output.type.dtype == "fp16"
            self.names[output.name] = self.round_fp16(value) if rounds else value
            if rounds:
                self.rounded.append((op, value, self.names[output.name]))

    def fresh(self, stem: str) -> str:
        """A name that no other value of this graph has."""
        return f"{stem}_{next(self._numbers)}"

    def inner(self) -> Scope:
        """A scope for a body within this one: it sees what is known here, and what it names stays its own.

        Weights and states are the graph's, since a body may read what lies outside it.
        """
        return replace(
            self,
            nodes=[],
            names=dict(self.names),
            types=dict(self.types),
            constants=dict(self.constants),
            rounded=[],
            nested=True,
        )

    def lower(self, op: Op) -> None:
        """Lowers one op; declares its outputs' types first.

        Raises:
            UnsupportedOpError: no lowering is registered for the op.
            PackageError: the op's inputs contradict each other, so that its lowering cannot go on.
        """
        for output in op.outputs:
            self.types[output.name] = output.type
        if op.type not in LOWERINGS:
            raise UnsupportedOpError(
                f"op {op.type} of opset {self.function.opset} is not known to the portable executor",
                where=f"{self.function.name}/{op.name}",
                hint="`lilims inspect` lists all ops of a package",
            )
        try:
            LOWERINGS[op.type](self, op)
        except MALFORMED as exc:
            raise PackageError(
                f"the inputs of {op.type} do not fit each other ({type(exc).__name__}: {exc})",
                where=f"{self.function.name}/{op.name}",
                hint="the package is damaged",
            ) from exc


def to_initializer(name: str, array: Array) -> onnx.TensorProto:
    """An ONNX initializer that holds the array's bytes."""
    return numpy_helper.from_array(np.asarray(array, order="C"), name)  # ascontiguousarray makes scalars vectors
