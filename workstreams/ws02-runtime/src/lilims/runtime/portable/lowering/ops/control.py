"""Bodies: `cond` and `while_loop` as ONNX's `If` and `Loop`.

A body becomes a graph of its own that reads what lies outside it by name. Shapes of results are left open, since the
branches of a `cond` and the rounds of a loop may differ in them. Fusions do not look into bodies, and a state is
written outside them only.
Source: coremltools, `mil/ops/defs/iOS15/control_flow.py`. A loop's blocks are its condition and its body, in this
order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from lilims.core.errors import PackageError

from ...program import Block, DictType, ListType, Op, Ref, StateType, Value
from ..scope import ONNX_DTYPES, Scope, lowers
from .common import unsupported


@lowers("cond")
def cond(scope: Scope, op: Op) -> None:
    if len(op.blocks) != 2:
        raise PackageError(f"cond has {len(op.blocks)} branches, not 2", where=op.name)
    condition = _truth(scope, scope.input(op, "pred"))
    branches = []
    for block in op.blocks:
        inner = scope.inner()
        results = _run(inner, op, block, [])
        branches.append(_graph(inner, op, [], results))
    outputs = scope.emit_many(
        "If", condition, outputs=len(op.outputs), then_branch=branches[0], else_branch=branches[1]
    )
    scope.bind(op, *outputs)


@lowers("while_loop")
def while_loop(scope: Scope, op: Op) -> None:
    """The condition is computed before the loop, and again at the end of every round."""
    if len(op.blocks) != 2:
        raise PackageError(f"while_loop has {len(op.blocks)} blocks, not 2", where=op.name)
    condition, body = op.blocks
    start = scope.inputs(op, "loop_vars")
    first = _truth(scope, _run(_same_graph(scope), op, condition, start)[0])
    inner = scope.inner()
    inputs = [inner.fresh("round"), inner.fresh("goes_on"), *(inner.fresh("variable") for _ in body.inputs)]
    results = _run(inner, op, body, inputs[2:])
    if not len(results) == len(start) == len(body.inputs) == len(op.outputs):
        raise PackageError("a loop's variables and results differ in number", where=op.name)
    again = _truth(inner, _run(inner, op, condition, results)[0])
    infos = [
        helper.make_tensor_value_info(inputs[0], onnx.TensorProto.INT64, []),
        helper.make_tensor_value_info(inputs[1], onnx.TensorProto.BOOL, []),
        *(_info(scope, op, name, value) for name, value in zip(inputs[2:], body.inputs, strict=True)),
    ]
    graph = _graph(inner, op, infos, results, again)
    scope.bind(op, *scope.emit_many("Loop", "", first, *start, outputs=len(op.outputs), body=graph))


def _same_graph(scope: Scope) -> Scope:
    """A scope whose names are its own and whose nodes are this graph's."""
    inner = scope.inner()
    inner.nodes = scope.nodes
    return inner


def _truth(scope: Scope, value: str) -> str:
    """A condition as a scalar; programs have vectors of one element too."""
    return scope.emit("Reshape", value, scope.array([], "int64"))


def _run(scope: Scope, op: Op, block: Block, arguments: Sequence[str]) -> list[str]:
    """Lowers a block's ops; the ONNX values of its outputs."""
    if len(arguments) != len(block.inputs):
        raise PackageError(f"a block takes {len(block.inputs)} values, not {len(arguments)}", where=op.name)
    for value, name in zip(block.inputs, arguments, strict=True):
        scope.types[value.name], scope.names[value.name] = value.type, name
    for inside in block.ops:
        scope.lower(inside)
    if not block.outputs:
        raise PackageError("a block has no output", where=op.name)
    return [scope.value(Ref(name)) for name in block.outputs]


def _graph(
    inner: Scope, op: Op, inputs: list[onnx.ValueInfoProto], results: Sequence[str], goes_on: str = ""
) -> onnx.GraphProto:
    """The body's graph. Results are copied, as a body may give what lies outside it, or one value twice."""
    if len(results) != len(op.outputs):
        raise PackageError(f"a block gives {len(results)} values, not {len(op.outputs)}", where=op.name)
    infos = []
    if goes_on:
        infos.append(helper.make_tensor_value_info(inner.emit("Identity", goes_on), onnx.TensorProto.BOOL, []))
    for result, value in zip(results, op.outputs, strict=True):
        infos.append(_info(inner, op, inner.emit("Identity", result), value))
    return helper.make_graph(inner.nodes, inner.fresh("body"), inputs, infos)


def _info(scope: Scope, op: Op, name: str, value: Value) -> onnx.ValueInfoProto:
    if isinstance(value.type, DictType | StateType):
        raise unsupported(scope, op, f"{value.name!r} is neither a tensor nor a list")
    tensor = value.type.element if isinstance(value.type, ListType) else value.type
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(ONNX_DTYPES[tensor.dtype])), None
    )
