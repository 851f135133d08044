"""States: buffers that outlive a call.

Knows what reading and writing mean: `read_state` is a copy of the content at that moment, so a value read before a
write stays what it was. In the graph this holds by itself, since a state's content is an SSA value that a write
replaces. Must not know where the buffers are (session.py).
Source: coremltools, `mil/ops/defs/iOS18/states.py` and `coreml_dialect/ops.py`.
"""

from __future__ import annotations

from lilims.core.errors import PackageError

from ...program import Op, Ref, StateType, TensorType
from ..scope import Scope, lowers
from .common import unsupported


@lowers("read_state")
def read_state(scope: Scope, op: Op) -> None:
    state, _ = _state(scope, op, "input")
    scope.bind(op, scope.state(state))


@lowers("write_state")
def write_state(scope: Scope, op: Op) -> None:
    state, tensor = _state(scope, op, "input")
    _write(scope, op, state, tensor, "data")


@lowers("coreml_update_state")
def coreml_update_state(scope: Scope, op: Op) -> None:
    state, tensor = _state(scope, op, "state")
    _write(scope, op, state, tensor, "value")
    scope.bind(op, scope.state(state))


def _state(scope: Scope, op: Op, key: str) -> tuple[str, TensorType]:
    for argument in op.inputs.get(key, ()):
        if isinstance(argument, Ref):
            found = scope.types.get(argument.name)
            if isinstance(found, StateType):
                return argument.name, found.tensor
    raise PackageError(f"the input {key!r} of {op.type} is not a state", where=f"{scope.function.name}/{op.name}")


def _write(scope: Scope, op: Op, state: str, tensor: TensorType, key: str) -> None:
    if scope.nested:
        raise unsupported(scope, op, "a state is written in the body of another op")
    value = scope.input(op, key)
    if scope.type(op, key) != tensor:
        raise PackageError(
            f"{scope.type(op, key)} is written to a state of {tensor}", where=f"{scope.function.name}/{op.name}"
        )
    scope.states[state] = scope.round_fp16(value) if tensor.dtype == "fp16" else value
