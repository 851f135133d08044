"""One function of an ML Program becomes one ONNX model.

Knows how a graph is put together: inputs, states, weights, outputs. Must not know any op (lowering/ops do), any
fusion (fusion/ does) or ONNX Runtime (session.py does).

    input  "in:<name>"                  fp16 inputs arrive as float32 and are rounded to fp16 first
    input  "state:<name>"               a state's content before the call, where the function reads it
    output "out:<name>"                 fp16 outputs leave as float32
    output "new:<name>"                 a state's content after the call, where the function writes it
    output "overflow"                   with "fp16": one value per rounded result, NaN where it is not finite
    output "underflow"                  with "fp16": the share of each result's elements that rounding made 0

A fusion may keep a state as rows: the state "<name>[<i>]" is row i of its first axis (`state_slot`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import onnx
from onnx import helper

from lilims.core.errors import PackageError, UnsupportedError

from .lowering import ops  # noqa: F401  (fills LOWERINGS)
from .lowering.scope import NATIVE_DOMAIN, ONNX_DTYPES, Deferred, Precision, Scope, to_initializer
from .plan import Graph, Slot
from .program import DictType, Function, StateType, TensorType, Value

__all__ = ["compile_function", "graph_nodes", "state_slot"]

_OPSETS = {"": 24, "ai.onnx.ml": 1, "com.microsoft": 1, NATIVE_DOMAIN: 1}
# The last opset for which ONNX Runtime has kernels of these: a graph that uses one is of that opset.
_LAST = {"Multinomial": 21, "RandomNormalLike": 21, "RandomUniformLike": 21}
_IR_VERSION = 11
_INLINE = 1024  # bytes: larger initializers stay outside the model, so that it is small and the weights are not copied


def compile_function(
    function: Function, precision: Precision = "exact", *, kernels: bool = False, standard: bool = False
) -> Graph:
    """Lowers a function op by op.

    Args:
        kernels: whether the graph may have ops of lilims-kernels.
        standard: whether the graph is for a file: ONNX's own ops where ONNX Runtime's only say the same in fewer,
            and weights made of their codes when the file is opened.

    Raises:
        UnsupportedOpError: an op, or a form of it, has no lowering.
        PackageError: the function contradicts itself.
    """
    scope = Scope(function, precision, kernels, standard)
    graph_inputs: list[onnx.ValueInfoProto] = []
    inputs = {}
    for value in function.inputs:
        _declare(scope, [value])
        if isinstance(value.type, StateType):
            continue
        tensor = _tensor(value, function)
        name = f"in:{value.name}"
        inputs[value.name] = (name, tensor)
        graph_inputs.append(_info(name, tensor))
        scope.names[value.name] = scope.round_fp16(name) if tensor.dtype == "fp16" else name
    for op in function.ops:
        _declare(scope, op.outputs)
        scope.lower(op)
    graph_outputs: list[onnx.ValueInfoProto] = []
    outputs = {}
    for output in function.outputs:
        found = scope.types.get(output)
        name = f"out:{output}"
        if isinstance(found, DictType):
            outputs[output] = (name, found.value)
            graph_outputs.append(_dictionary(scope, output, name, found))
            continue
        tensor = _tensor(None if found is None else Value(output, found), function)
        outputs[output] = (name, tensor)
        _output(scope, _newest(scope, output), name)
        graph_outputs.append(_info(name, tensor, shaped=False))
    slots = tuple(_slots(scope, graph_inputs, graph_outputs))
    if not graph_outputs:
        raise PackageError("the function gives nothing", where=function.name, hint="the package is damaged")
    if scope.rounded:
        graph_outputs += [_overflow(scope), _underflow(scope)]
    model, weights = _assemble(scope, graph_inputs, graph_outputs)
    checked = tuple(op for op, _, _ in scope.rounded)
    return Graph(function.name, inputs, outputs, slots, checked, model, weights)


def state_slot(name: str) -> tuple[str, int | None]:
    """The state and the row that a key of `Scope.states` names: "kv" or "kv[3]"."""
    match = re.fullmatch(r"(.*)\[(\d+)\]", name, re.DOTALL)
    return (match[1], int(match[2])) if match else (name, None)


def _declare(scope: Scope, values: Iterable[Value]) -> None:
    for value in values:
        if value.name in scope.types:
            raise PackageError(f"the value {value.name!r} is defined twice", where=scope.function.name)
        scope.types[value.name] = value.type


def _tensor(value: Value | None, function: Function) -> TensorType:
    if value is None:
        raise PackageError("an output is never computed", where=function.name, hint="the package is damaged")
    if not isinstance(value.type, TensorType):
        raise UnsupportedError(f"{value.name!r} is no tensor", where=function.name)
    return value.type


def _newest(scope: Scope, output: str) -> str:
    if output not in scope.names and output in scope.constants:
        scope.names[output] = scope.literal(scope.constants[output])
    if output not in scope.names:
        raise PackageError(f"the output {output!r} is never computed", where=scope.function.name)
    return scope.names[output]


def _info(name: str, tensor: TensorType, *, shaped: bool = True) -> onnx.ValueInfoProto:
    """A graph input or output. Flexible dimensions are symbols; outputs are left to ONNX's shape inference."""
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(ONNX_DTYPES[tensor.dtype]))
    shape = [f"{name}.{i}" if d is None else d for i, d in enumerate(tensor.shape)]
    return helper.make_tensor_value_info(name, dtype, shape if shaped else None)


def _dictionary(scope: Scope, output: str, name: str, found: DictType) -> onnx.ValueInfoProto:
    """An output that is a dictionary: `ZipMap`'s result, which no other node may read. It has one for each row."""
    made = _newest(scope, output)
    for node in scope.nodes:
        node.output[:] = [name if value == made else value for value in node.output]
    scope.names[output] = name
    key = onnx.TensorProto.STRING if found.key.dtype == "string" else onnx.TensorProto.INT64
    element = helper.make_map_type_proto(key, helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, []))
    return helper.make_value_info(name, helper.make_sequence_type_proto(element))


def _output(scope: Scope, value: str, name: str) -> None:
    """An output is a copy: two outputs may be one value, and an output may be an input."""
    scope.nodes.append(helper.make_node("Identity", [value], [name]))


def _slots(
    scope: Scope, graph_inputs: list[onnx.ValueInfoProto], graph_outputs: list[onnx.ValueInfoProto]
) -> Iterable[Slot]:
    read = {name for node in graph_nodes(scope.nodes) for name in node.input}
    for key, newest in list(scope.states.items()):
        state, row = state_slot(key)
        declared = scope.types[state]
        if not isinstance(declared, StateType):
            raise PackageError(f"{state!r} is not a state", where=scope.function.name)
        tensor = declared.tensor
        if row is not None:
            tensor = TensorType(tensor.dtype, (1, *tensor.shape[1:]))
        before, after = f"state:{key}", f"new:{key}"
        if before in read:
            graph_inputs.append(_info(before, tensor))
        if newest != before:
            if newest != after:
                _output(scope, newest, after)
            graph_outputs.append(_info(after, tensor, shaped=False))
        yield Slot(state, row, before if before in read else "", after if newest != before else None)


def graph_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, and those of their bodies."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from graph_nodes(attribute.g.node)


def _overflow(scope: Scope) -> onnx.ValueInfoProto:
    zero = scope.array(0.0, np.float32)
    sums = []
    for _, _, value in scope.rounded:  # x · 0 is 0, or NaN where x is infinite or NaN
        total = scope.emit("ReduceSum", scope.emit("Mul", value, zero), keepdims=0)
        sums.append(scope.emit("Reshape", total, scope.array([1], np.int64)))
    scope.nodes.append(helper.make_node("Concat", sums, ["overflow"], axis=0))
    return helper.make_tensor_value_info("overflow", onnx.TensorProto.FLOAT, [len(sums)])


def _underflow(scope: Scope) -> onnx.ValueInfoProto:
    """Lost over nonzero elements of each result; 0 for one of zeros alone. Rounding makes no zero a number."""

    def counts(values: Iterable[str]) -> str:
        """How many elements of each are not 0, in one row: few nodes, as every op of the function has them."""
        found = []
        for value in values:
            there = scope.emit("Cast", scope.emit("Cast", value, to=onnx.TensorProto.BOOL), to=onnx.TensorProto.FLOAT)
            total = scope.emit("ReduceSum", there, keepdims=0)
            found.append(scope.emit("Reshape", total, scope.array([1], np.int64)))
        return scope.emit("Concat", *found, axis=0)

    there = counts(before for _, before, _ in scope.rounded)
    lost = scope.emit("Sub", there, counts(after for _, _, after in scope.rounded))
    share = scope.emit("Div", lost, scope.emit("Max", there, scope.array(1.0, np.float32)))
    scope.nodes.append(helper.make_node("Identity", [share], ["underflow"]))
    return helper.make_tensor_value_info("underflow", onnx.TensorProto.FLOAT, [len(scope.rounded)])


def _assemble(
    scope: Scope, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
) -> tuple[onnx.ModelProto, dict[str, Deferred]]:
    weights = dict(scope.deferred)
    initializers = [_external(name, weight) for name, weight in weights.items()]
    for name, array in scope.initializers.items():
        if array.nbytes <= _INLINE or array.dtype == np.object_:
            initializers.append(to_initializer(name, array))
        else:
            weights[name] = Deferred(array.dtype, array.shape, partial(np.ascontiguousarray, array))
            initializers.append(_external(name, weights[name]))
    graph = helper.make_graph([*scope.prologue, *scope.nodes], scope.function.name, inputs, outputs, initializers)
    nodes = list(graph_nodes(scope.nodes))
    newest = min([_OPSETS[""], *(_LAST.get(node.op_type, _OPSETS[""]) for node in nodes)])
    versions = {**_OPSETS, "": newest}
    if not any(node.domain == NATIVE_DOMAIN for node in nodes):
        del versions[NATIVE_DOMAIN]  # which ONNX Runtime would not know
    opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="lilims"), weights


def _external(name: str, weight: Deferred) -> onnx.TensorProto:
    """A tensor whose bytes are handed to the session beside the model."""
    tensor = onnx.TensorProto(name=name, dims=weight.shape, data_type=helper.np_dtype_to_tensor_dtype(weight.dtype))
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights")
    return tensor
