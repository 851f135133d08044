"""Functions put together by hand: the IR without coremltools, for tests of single rewrites and lowerings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.runtime.portable.blob import unpack
from lilims.runtime.portable.buffers import StateBuffers
from lilims.runtime.portable.compiler import compile_function
from lilims.runtime.portable.fusion import fuse
from lilims.runtime.portable.lowering.scope import Precision
from lilims.runtime.portable.program import Argument, Constant, Function, Op, Ref, StateType, TensorType, Value
from lilims.runtime.portable.session import Executable

_DTYPES = {"float16": "fp16", "float32": "fp32", "object": "string"}


def literal(value: Any, dtype: str | None = None) -> Constant:
    """A literal; sub-byte types get packed bytes too, as those from a file have."""
    if isinstance(value, str):
        return Constant(TensorType("string"), lambda: np.array(value, np.object_))
    array = np.asarray(value)
    if array.dtype == np.int64:
        array = array.astype(np.int32)
    name = dtype or _DTYPES.get(array.dtype.name, array.dtype.name)
    if name not in ("int4", "uint4"):
        return Constant(TensorType(name, array.shape), lambda: array, lambda: array.reshape(-1).view(np.uint8))
    nibbles = array.reshape(-1).astype(np.uint8) & 15
    nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
    packed = nibbles[0::2] | (nibbles[1::2] << 4)
    return Constant(TensorType(name, array.shape), lambda: unpack(packed, name, array.shape), lambda: packed)


@dataclass
class Fn:
    """Collects ops: `y = fn.op("add", ("fp32", (2,)), x=x, y=1.0)`. Arguments are names, or values for literals."""

    inputs: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    def input(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> Ref:
        self.inputs.append(Value(name, TensorType(dtype, shape)))
        return Ref(name)

    def state(self, name: str, shape: tuple[int, ...], dtype: str = "fp16") -> Ref:
        self.inputs.append(Value(name, StateType(TensorType(dtype, shape))))
        return Ref(name)

    def op(self, op_type: str, *outputs: tuple[str, tuple[int | None, ...]], **inputs: Any) -> Any:
        stem = f"{op_type}_{len(self.ops)}"
        values = tuple(Value(f"{stem}.{i}", TensorType(*o)) for i, o in enumerate(outputs))
        given = {key: _arguments(value) for key, value in inputs.items() if value is not None}
        self.ops.append(Op(op_type, stem, given, values))
        refs = [Ref(value.name) for value in values]
        return refs[0] if len(refs) == 1 else refs

    def const(self, value: Any, dtype: str | None = None) -> Ref:
        constant = literal(value, dtype)
        name = f"const_{len(self.ops)}"
        self.ops.append(Op("const", name, {"val": (constant,)}, (Value(name, constant.type),)))
        return Ref(name)

    def function(self, *outputs: Ref) -> Function:
        return Function("main", "CoreML8", tuple(self.inputs), tuple(self.ops), tuple(o.name for o in outputs))


def _arguments(value: Any) -> tuple[Argument, ...]:
    if isinstance(value, list) and value and all(isinstance(v, Ref | Constant) for v in value):
        return tuple(value)
    return (value if isinstance(value, Ref | Constant) else literal(value),)


@dataclass
class Runner:
    """A function made ready, with states of its own."""

    function: Function
    precision: Precision = "exact"
    fused: bool = True

    def __post_init__(self) -> None:
        self.function = fuse(self.function, self.precision) if self.fused else self.function
        self.graph = compile_function(self.function, self.precision)
        self.executable = Executable(self.graph, threads=1)
        types = {v.name: v.type.tensor for v in self.function.inputs if isinstance(v.type, StateType)}
        self.states = StateBuffers(types)

    @property
    def op_types(self) -> list[str]:
        return [op.type for op in self.function.ops if op.type != "const"]

    @property
    def nodes(self) -> list[str]:
        return [node.op_type for node in self.graph.model.graph.node]

    def __call__(self, **feeds: NDArray[Any]) -> list[NDArray[Any]]:
        return self.executable.run(feeds, self.states)[0]
