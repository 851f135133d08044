"""Changes the number of rows of the state in a program: everything that follows from it, and nothing else.

Knows through which ops rows go, and where shapes stand in the specification (`MIL.proto`, `FeatureTypes.proto`). Must
not know model folders. A number is never taken for rows because it is equal to them: each value's row axis is followed
from the state and the masks through the ops that `convert` emits, and an op that is not known here is refused.

    state kv_cache [2L, KV, R, E]   axis 2    read_state, write_state, slice_update keep it
    slice_by_index to [1, KV, R, E] axis 2    its constant `end` holds R, unless it is a bucket's
    masks [1, 1, S, R]              axis 3    tile keeps it
    matmul(Q, Kᵀ)                   axis 3    then mul, tanh, add, softmax; matmul(…, V) and attention sum it up
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lilims.core.errors import ContractError

__all__ = ["reshape"]

_MASKS = ("attention_mask", "local_attention_mask")
_STATE = "kv_cache"
Axes = dict[str, int]  # value → the axis of its rows


def reshape(spec: Any, old: int, new: int, *, where: Path) -> None:
    """Gives a specification, a `Model` message, a state of `new` rows instead of `old`, in place.

    Raises:
        ContractError: rows go where `convert` sends none.
    """
    for name, function in spec.mlProgram.functions.items():
        _Function(function, old, new, f"{where}: {name}").run()
    described = [f for function in spec.description.functions for f in (*function.input, *function.state)]
    for feature in (*described, *spec.description.input, *spec.description.state):
        _describe(feature, old, new)


def _describe(feature: Any, old: int, new: int) -> None:
    if feature.name == _STATE:
        shape, axis = feature.type.stateType.arrayType.shape, 2
    elif feature.name in _MASKS:
        shape, axis = feature.type.multiArrayType.shape, 3
    else:
        return
    if len(shape) == 4 and shape[axis] == old:
        shape[axis] = new


class _Function:
    """One function while its rows are followed."""

    def __init__(self, function: Any, old: int, new: int, where: str) -> None:
        self.function, self.old, self.new, self.where = function, old, new, where
        self.ops = list(function.block_specializations[function.opset].operations)
        self.constants = {op.outputs[0].name: op for op in self.ops if op.type == "const"}
        self.axes: Axes = {}
        self.ends: set[str] = set()

    def error(self, message: str) -> ContractError:
        return ContractError(message, where=self.where, hint="this program is not convert's: convert the model again")

    def run(self) -> None:
        for value in self.function.inputs:
            if value.name == _STATE:
                self.resize(value.name, value.type.stateType.wrappedType.tensorType, 2)
            elif value.name in _MASKS and _size(value.type.tensorType, 3) == self.old:
                self.resize(value.name, value.type.tensorType, 3)
        for op in self.ops:
            if op.type != "const" and any(name in self.axes for name in _names(op)):
                self.follow(op)
        for op in self.ops:
            if op.type != "slice_by_index" and self.ends & set(_names(op)):
                raise self.error(f"op {op.outputs[0].name!r} takes a constant that holds rows")

    def resize(self, name: str, tensor: Any, axis: int) -> None:
        if len(tensor.dimensions) <= axis or _size(tensor, axis) != self.old:
            raise self.error(f"{name!r} does not have {self.old} rows at axis {axis}")
        tensor.dimensions[axis].constant.size = self.new
        self.axes[name] = axis

    def follow(self, op: Any) -> None:
        if op.type not in _AXIS:
            raise self.error(f"op {op.type} takes rows of the state, which it does in no program of convert's")
        axis = _AXIS[op.type](self, op)
        for output in op.outputs:
            if axis is not None:
                self.resize(output.name, output.type.tensorType, axis)

    def axis(self, op: Any, key: str) -> int | None:
        """The row axis of what an op takes as `key`."""
        return self.axes.get(op.inputs[key].arguments[0].name) if key in op.inputs else None

    # -- where an op's result has its rows -------------------------------------------------------------------------

    def kept(self, op: Any) -> int | None:
        found = {self.axes[name] for name in _names(op) if name in self.axes}
        if len(found) != 1:
            raise self.error(f"op {op.outputs[0].name!r} takes rows at several axes")
        return found.pop()

    def written(self, op: Any) -> None:
        """write_state has no output."""

    def summed(self, op: Any) -> None:
        wanted = {"key": 2, "value": 2, "attn_mask": 3}
        if any(self.axis(op, key) not in (axis, None) for key, axis in wanted.items()) or self.axis(op, "query"):
            raise self.error(f"op {op.outputs[0].name!r} takes rows at another axis")

    def product(self, op: Any) -> int | None:
        x, y = self.axis(op, "x"), self.axis(op, "y")
        if (x, y) == (None, 2):  # Q · Kᵀ
            return 3
        if (x, y) == (3, 2):  # shares · V
            return None
        raise self.error(f"op {op.outputs[0].name!r} multiplies rows in another way")

    def sliced(self, op: Any) -> int | None:
        tensor = op.outputs[0].type.tensorType
        if _size(tensor, 2) != self.old:  # a bucket's first rows
            return None
        name = op.inputs["end"].arguments[0].name
        values = self.end(name)
        if len(values) != 4 or values[2] not in (self.old, self.new):
            raise self.error(f"op {op.outputs[0].name!r} does not end at the last row")
        values[2] = self.new
        self.ends.add(name)
        return 2

    def end(self, name: str) -> Any:
        """The integers of a constant, to be changed."""
        if name not in self.constants:
            raise self.error(f"{name!r} is not constant")
        return self.constants[name].attributes["val"].immediateValue.tensor.ints.values


_AXIS: dict[str, Callable[[_Function, Any], int | None]] = {
    "read_state": _Function.kept,
    "write_state": _Function.written,
    "slice_update": _Function.kept,
    "slice_by_index": _Function.sliced,
    "tile": _Function.kept,
    "matmul": _Function.product,
    "mul": _Function.kept,
    "add": _Function.kept,
    "tanh": _Function.kept,
    "softmax": _Function.kept,
    "scaled_dot_product_attention": _Function.summed,
}


def _names(op: Any) -> list[str]:
    return [b.name for argument in op.inputs.values() for b in argument.arguments if b.WhichOneof("binding") == "name"]


def _size(tensor: Any, axis: int) -> int:
    return int(tensor.dimensions[axis].constant.size) if len(tensor.dimensions) > axis else 0
