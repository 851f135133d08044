"""A state kept as the rows of its first axis, each written in place.

    Given, for a state [N, …]                              Result
    %v = read_state(%s)                                    %s[r] is a state of its own, row r
    %u = slice_update(x=%v, update=%k [1,…,n,…],           %s[r]' = lilims.write_state_row(%s, r, %k, %slot)
             begin=concat(r, 0…, %slot, 0…), end=…)
    write_state(%s, %u); %w = read_state(%s)
    %y = slice_by_index|slice_by_size(x=%w, row r, …)      %y = %s[r]', sliced where less than the row is taken

The plain lowering copies the whole state at each write. Here a row's buffer is bound as the graph's input and output
at once, and `TensorScatter` (ONNX opset 24) writes only the update into it: no copy of a cache per token.

Sharing a buffer is safe only where nobody can see it at the wrong time, so a state is left alone unless all of this
holds: every use of its content is one of the ops above, with constant rows; no row is written twice; a row that is
written is never read in its old form; what is written last is the whole chain. A stale read therefore stays stale.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from onnx import helper

from ..lowering.scope import Precision, Scope, lowers
from ..program import Argument, Function, Op, Ref, StateType, TensorType, Value
from .match import Index, literal_argument, single

__all__ = ["rewrite"]

_WRITE, _READ = "lilims.write_state_row", "lilims.read_state_row"
_SLICES = ("slice_by_index", "slice_by_size")


class _NotThisStateError(Exception):
    """The state is used in a way that forbids the rewrite."""


def rewrite(function: Function, precision: Precision) -> Function:
    for value in function.inputs:
        if isinstance(value.type, StateType) and value.type.tensor.rank >= 2:
            try:
                function = _Rows(function, value.name, value.type.tensor).rewritten()
            except _NotThisStateError:
                continue
    return function


@dataclass
class _Rows:
    """Follows one state through a function: which version of each row a value holds. Version 0 is the old one."""

    function: Function
    state: str
    tensor: TensorType
    index: Index = field(init=False)
    versions: dict[str, tuple[int, ...]] = field(default_factory=dict)  # value that holds the state -> its rows
    seen: set[tuple[int, int]] = field(default_factory=set)  # (row, version) that was read
    ops: list[Op] = field(default_factory=list)
    writes: int = 0

    def __post_init__(self) -> None:
        self.index = Index(self.function)
        self.shape = tuple(d or 0 for d in self.tensor.shape)
        self.content = (0,) * self.shape[0]

    def rewritten(self) -> Function:
        for op in self.function.ops:
            self.follow(op)
        tracked = any(name in self.versions or name == self.state for name in self.function.outputs)
        written = sum(1 for version in self.content if version)
        old_reads = any(self.content[row] != version for row, version in self.seen)
        if tracked or written != self.writes or old_reads:
            raise _NotThisStateError
        return replace(self.function, ops=tuple(self.ops))

    def follow(self, op: Op) -> None:
        x = single(op, "x")
        if op.type == "read_state" and single(op, "input") == Ref(self.state):
            self.versions[op.outputs[0].name] = self.content
        elif op.type == "write_state" and single(op, "input") == Ref(self.state):
            self.content = self.tracked(single(op, "data"))
        elif op.type == "slice_update" and self.holds(x) and not self.holds(single(op, "update")):
            self.write(op, self.tracked(x))
        elif op.type in _SLICES and self.holds(x):
            self.read(op, self.tracked(x))
        elif op.blocks or any(name in self.versions or name == self.state for name in op.refs()):
            raise _NotThisStateError
        else:
            self.ops.append(op)

    def holds(self, argument: Argument | None) -> bool:
        return isinstance(argument, Ref) and argument.name in self.versions

    def tracked(self, argument: Argument | None) -> tuple[int, ...]:
        if not isinstance(argument, Ref) or argument.name not in self.versions:
            raise _NotThisStateError
        return self.versions[argument.name]

    # -- writes ------------------------------------------------------------------------------------------------------

    def write(self, op: Op, before: tuple[int, ...]) -> None:
        update = self.index.tensor(single(op, "update"))
        if update is None or update.rank != len(self.shape) or update.shape[0] != 1 or not _plain(self.index, op):
            raise _NotThisStateError
        row, axis, slot = self.place(op, tuple(d or 0 for d in update.shape))
        self.writes += 1
        after = tuple(self.writes if i == row else version for i, version in enumerate(before))
        self.versions[op.outputs[0].name] = after
        inputs: dict[str, tuple[Argument, ...]] = {
            "state": (Ref(self.state),),
            "update": op.inputs["update"],
            "slot": (slot,),
            "row": (literal_argument(row, "int32"),),
            "axis": (literal_argument(axis, "int32"),),
        }
        self.ops.append(Op(_WRITE, op.name, inputs, ()))

    def place(self, op: Op, update: tuple[int, ...]) -> tuple[int, int, Argument]:
        """The row, the axis along which the update is shorter than the row, and where it begins there."""
        begin, end = _vector(self.index, op, "begin", len(self.shape)), _vector(self.index, op, "end", len(self.shape))
        short = [axis for axis in range(1, len(self.shape)) if update[axis] != self.shape[axis]]
        run_time = [axis for axis in range(1, len(self.shape)) if not isinstance(begin[axis], int)]
        axes = sorted({*short, *run_time}) or [1]
        row = begin[0]
        rest = [i for i in range(1, len(self.shape)) if i != axes[0]]
        fits = len(axes) == 1 and all(begin[i] == 0 and end[i] == self.shape[i] for i in rest)
        if not fits or not isinstance(row, int) or end[0] != row + 1 or not 0 <= row < self.shape[0]:
            raise _NotThisStateError
        start = begin[axes[0]]
        return row, axes[0], literal_argument([start], "int32") if isinstance(start, int) else start

    # -- reads -------------------------------------------------------------------------------------------------------

    def read(self, op: Op, rows: tuple[int, ...]) -> None:
        bounds = "end" if op.type == "slice_by_index" else "size"
        begin, end = (self.index.value(op, key) for key in ("begin", bounds))
        if not isinstance(begin, list) or not isinstance(end, list) or self.masked(op, 0, "begin_mask", "end_mask"):
            raise _NotThisStateError
        row = begin[0] + (self.shape[0] if begin[0] < 0 else 0)
        one = self.masked(op, 0, "squeeze_mask") or (end[0] == (begin[0] + 1 if bounds == "end" else 1))
        if not one or not 0 <= row < self.shape[0]:
            raise _NotThisStateError
        self.seen.add((row, rows[row]))
        row_type = TensorType(self.tensor.dtype, (1, *self.tensor.shape[1:]))
        whole = op.outputs[0].type == row_type  # strides cannot keep a dimension's size, only turn it round
        if whole and all(s == 1 for s in self.index.value(op, "stride", [1])):
            self.ops.append(self.row_read(op.name, row, op.outputs[0]))
            return
        taken = Value(f"{op.outputs[0].name}#row", row_type)
        changed = {"begin": [0, *begin[1:]], bounds: [1, *end[1:]]}
        literals = {key: (literal_argument(np.array(v, np.int32), "int32"),) for key, v in changed.items()}
        self.ops += [self.row_read(op.name, row, taken), op.with_inputs(x=(Ref(taken.name),), **literals)]

    def row_read(self, name: str, row: int, output: Value) -> Op:
        inputs: dict[str, tuple[Argument, ...]] = {
            "state": (Ref(self.state),),
            "row": (literal_argument(row, "int32"),),
        }
        return Op(_READ, name, inputs, (output,))

    def masked(self, op: Op, axis: int, *keys: str) -> bool:
        for key in keys:
            mask = self.index.value(op, key, [])
            if mask is Ellipsis:
                raise _NotThisStateError
            if mask and mask[axis]:
                return True
        return False


def _plain(index: Index, op: Op) -> bool:
    """Whether a slice_update has neither masks nor strides."""
    masks = [index.value(op, key, []) for key in ("begin_mask", "end_mask", "squeeze_mask")]
    stride = index.value(op, "stride", [1])
    return (
        stride is not Ellipsis and all(s == 1 for s in stride) and all(m is not Ellipsis and not any(m) for m in masks)
    )


def _vector(index: Index, op: Op, key: str, size: int) -> list[int | Argument]:
    """The elements of a bound: known ones as int, others as the one-element value that a concat takes them from."""
    known = index.value(op, key)
    if isinstance(known, list) and len(known) == size:
        return list(known)
    concat = index.maker(single(op, key), "concat")
    if concat is None or index.value(concat, "interleave", False) is not False:
        raise _NotThisStateError
    found: list[int | Argument] = []
    for part in concat.inputs["values"]:
        literal = index.literal(replace(concat, inputs={"part": (part,)}), "part")
        tensor = index.tensor(part)
        if literal is not None:
            found += [int(v) for v in np.atleast_1d(literal.load())]
        elif tensor is not None and tensor.shape == (1,):
            found.append(part)
        else:
            raise _NotThisStateError
    if len(found) != size:
        raise _NotThisStateError
    return found


@lowers(_READ)
def read_state_row(scope: Scope, op: Op) -> None:
    scope.names[op.outputs[0].name] = scope.state(_key(scope, op))


@lowers(_WRITE)
def write_state_row(scope: Scope, op: Op) -> None:
    key = _key(scope, op)
    update = scope.input(op, "update")
    if scope.type(op, "state").dtype == "fp16" and scope.precision != "fp16":
        update = scope.round_fp16(update)
    slot = scope.emit("Cast", scope.input(op, "slot"), to=helper.np_dtype_to_tensor_dtype(np.dtype(np.int64)))
    name = f"new:{key}"  # the graph's output itself: a copy of it would be a copy of the row
    inputs = [scope.state(key), update, slot]
    scope.nodes.append(helper.make_node("TensorScatter", inputs, [name], axis=scope.scalar(op, "axis")))
    scope.states[key] = name


def _key(scope: Scope, op: Op) -> str:
    state = op.inputs["state"][0]
    assert isinstance(state, Ref), "the rewrite made it so"
    return f"{state.name}[{scope.scalar(op, 'row')}]"
