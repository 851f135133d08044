"""Builds a function of one op, lowers it, runs it with ONNX Runtime and compares with an expectation.

Knows how a case is written. Must not know how any op is lowered, and uses neither coremltools nor the compiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from lilims.runtime.portable.lowering import ops  # noqa: F401  (fills LOWERINGS)
from lilims.runtime.portable.lowering.scope import ONNX_DTYPES, Scope, to_initializer
from lilims.runtime.portable.program import Argument, Constant, Function, Op, Ref, TensorType, Value

MIL_DTYPES = {
    "float16": "fp16", "float32": "fp32", "float64": "fp64", "bool": "bool", "object": "string",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
}  # fmt: skip


@dataclass(frozen=True)
class Const:
    """An input that is known before running. Python ints become int32, floats float32."""

    value: Any

    @property
    def array(self) -> Any:
        if isinstance(self.value, np.ndarray | np.generic):
            return np.asarray(self.value)
        array = np.asarray(self.value, object if isinstance(self.value, str) else None)
        return array.astype({"i": np.int32, "f": np.float32}.get(array.dtype.kind, array.dtype))


@dataclass(frozen=True)
class Case:
    """One op with its inputs (arrays at run time, `Const` before, lists for variadic ones) and what it must give."""

    id: str
    op: str
    expected: Sequence[Any]
    inputs: dict[str, Any]
    opset: str = "CoreML8"
    atol: float = 1e-5
    rtol: float = 1e-5
    dtypes: tuple[str, ...] = ()  # MIL types of the outputs where they are not the expectation's
    precision: Any = "exact"
    shaped: bool = field(default=True)  # whether the outputs' shapes are declared


def case(id: str, op: str, expected: Any, /, *, like: dict[str, Any] | None = None, **inputs: Any) -> Case:
    """A case; `like` sets the other fields of `Case`."""
    outputs = expected if isinstance(expected, list) else [expected]
    return Case(id, op, [np.asarray(output) for output in outputs], inputs, **(like or {}))


def i32(*values: Any) -> Any:
    """An int32 array."""
    return np.array(values if len(values) != 1 or np.isscalar(values[0]) else values[0], np.int32)


def floats(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0, dtype: Any = np.float32) -> Any:
    """Repeatable random numbers, even in each interval of the range."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def mil_type(array: Any, flexible: bool = False) -> TensorType:
    shape = tuple(None if flexible else size for size in array.shape)
    return TensorType(MIL_DTYPES[array.dtype.name], shape)


def run(case: Case, *, flexible: bool = False) -> list[Any]:
    """The op's outputs; `flexible` declares every dimension of every run-time input unknown."""
    feeds: dict[str, Any] = {}
    constants: list[Op] = []
    inputs: dict[str, tuple[Argument, ...]] = {}
    for key, given in case.inputs.items():
        values = given if isinstance(given, list) else [given]
        names = []
        for index, value in enumerate(values):
            name = f"{key}_{index}"
            if isinstance(value, Const):
                literal = Constant(mil_type(value.array), lambda array=value.array: array)
                constants.append(Op("const", name, {"val": (literal,)}, (Value(name, literal.type),)))
            else:
                feeds[name] = np.asarray(value)
            names.append(Ref(name))
        inputs[key] = tuple(names)
    outputs = tuple(Value(f"out_{i}", _output_type(case, i, flexible)) for i in range(len(case.expected)))
    parameters = tuple(Value(name, mil_type(array, flexible)) for name, array in feeds.items())
    op = Op(case.op, "tested", inputs, outputs)
    function = Function("main", case.opset, parameters, (*constants, op), tuple(o.name for o in outputs))
    return _execute(_lower(function, case.precision), feeds)


def _output_type(case: Case, index: int, flexible: bool) -> TensorType:
    found = mil_type(case.expected[index], flexible or not case.shaped)
    return TensorType(case.dtypes[index], found.shape) if case.dtypes else found


def _lower(function: Function, precision: Any) -> onnx.ModelProto:
    scope = Scope(function, precision)
    infos = []
    for value in function.inputs:
        assert isinstance(value.type, TensorType)
        scope.types[value.name], scope.names[value.name] = value.type, value.name
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(ONNX_DTYPES[value.type.dtype]))
        shape = [f"{value.name}.{i}" if d is None else d for i, d in enumerate(value.type.shape)]
        infos.append(helper.make_tensor_value_info(value.name, dtype, shape))
    for op in function.ops:
        scope.lower(op)
    results = []
    for name in function.outputs:
        scope.nodes.append(helper.make_node("Identity", [scope.names[name]], [name]))
        results.append(helper.make_empty_tensor_value_info(name))
    weights = [to_initializer(name, array) for name, array in scope.initializers.items()]
    graph = helper.make_graph(scope.nodes, "tested", infos, results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)


def _execute(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    cast = {n: a.astype(ONNX_DTYPES[MIL_DTYPES[a.dtype.name]]) for n, a in feeds.items()}
    return list(session.run(None, cast))


def check(case: Case, *, flexible: bool = False) -> None:
    """Runs the case; values, shapes and element types must be as expected."""
    results = run(case, flexible=flexible)
    for index, (result, expected) in enumerate(zip(results, case.expected, strict=True)):
        dtype = ONNX_DTYPES[case.dtypes[index] if case.dtypes else MIL_DTYPES[expected.dtype.name]]
        assert result.dtype == dtype, f"output {index} is {result.dtype}, not {np.dtype(dtype)}"
        assert result.shape == expected.shape, f"output {index} is {result.shape}, not {expected.shape}"
        np.testing.assert_allclose(result, expected.astype(dtype), rtol=case.rtol, atol=case.atol)
