"""Attention over the first rows of a cache: how many there are becomes a size that a call chooses.

    Given, a state kept as rows [1, heads, R, E] (fusion/inplace_state)        Result: R is a free size
    lilims.write_state_row(%s, r, %k, %slot), %slot an input                   the same
    %c = lilims.read_state_row(%s, r); perhaps its first n rows                %c, whatever rows there are
    %y = scaled_dot_product_attention(%q, %c, %d, attn_mask=%m)                the same
      or matmul(%q, %c, transposed), perhaps * c and tanh, + %m, softmax, matmul(…, %d)
    %m an input [1, 1, S, R], perhaps tiled along another axis                 an input [1, 1, S, any]

A row that the mask hides has no weight in the result, so a call may leave out all rows behind the last one that a mask
shows. That holds only if every row is read through a softmax that the mask was added to: nothing else that sees the
cache's length is let through. Buckets, which read their first n rows, become the same function as the one that reads
them all.

Knows ops and their shapes. Must not know masks' content (buffers.py looks at that, call by call).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from ..fusion.match import Index, single
from ..plan import Prefix
from ..program import Argument, Function, Op, Ref, StateType, TensorType, Value

__all__ = ["free_rows"]

_WRITE, _READ = "lilims.write_state_row", "lilims.read_state_row"
_Stage = Literal["cache", "scores", "masked", "shares", "mask"]


class _FixedError(Exception):
    """The function depends on the cache's size."""


def free_rows(function: Function) -> tuple[Function, Prefix | None]:
    """The function with its cache's size left open, and what chooses it; as it was, and None, where that cannot be."""
    try:
        return _Trace(function).result()
    except _FixedError:
        return function, None


@dataclass
class _Trace:
    """Follows everything that has the cache's length along one of its axes."""

    function: Function
    index: Index = field(init=False)
    tags: dict[str, tuple[int, _Stage]] = field(default_factory=dict)  # value -> axis of the rows, what it is
    aliases: dict[str, str] = field(default_factory=dict)  # the first rows of a row -> the row
    taken: set[int] = field(default_factory=set)  # ids of ops that may see tagged values
    masks: list[str] = field(default_factory=list)
    widths: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.index = Index(self.function)

    def result(self) -> tuple[Function, Prefix]:
        state, axis, slot, count = self.writes()
        for op in self.function.ops:
            self.follow(op, axis)
        seen = [op for op in self.function.ops if id(op) not in self.taken and self.sees(op)]
        if seen or not self.masks or len(self.widths) != 1 or any(n in self.tags for n in self.function.outputs):
            raise _FixedError
        prefix = Prefix(state, axis, slot, count, tuple(dict.fromkeys(self.masks)), self.widths.pop())
        return self.rewritten(prefix), prefix

    def writes(self) -> tuple[str, int, str, int]:
        """The one state that is kept as rows, where its places lie, and what a call writes."""
        found = set()
        for op in self.function.ops:
            if op.type == _WRITE:
                state, slot, update = single(op, "state"), single(op, "slot"), self.index.tensor(single(op, "update"))
                axis = self.index.value(op, "axis")
                if not isinstance(state, Ref) or not isinstance(slot, Ref) or update is None:
                    raise _FixedError
                found.add((state.name, int(axis), slot.name, update.shape[int(axis)]))
            elif op.blocks:
                raise _FixedError
        if len(found) != 1:
            raise _FixedError
        state_name, axis, slot_name, count = found.pop()
        inputs = {value.name: value.type for value in self.function.inputs}
        if slot_name not in inputs or inputs[slot_name] != TensorType("int32", (1,)) or count is None:
            raise _FixedError
        return state_name, axis, slot_name, count

    def sees(self, op: Op) -> bool:
        return any(name in self.tags or name in self.masks for name in op.refs())

    def tag(self, argument: Argument | None) -> tuple[int, _Stage] | None:
        return self.tags.get(argument.name) if isinstance(argument, Ref) else None

    def follow(self, op: Op, axis: int) -> None:
        if op.type in (_READ, _WRITE):
            if self.tag(single(op, "update")) or self.tag(single(op, "slot")):
                raise _FixedError
            self.taken.add(id(op))
            if op.type == _READ:
                self.widths.add(self.size(Ref(op.outputs[0].name), axis))
                self.tags[op.outputs[0].name] = (axis, "cache")
            return
        if not any(name in self.tags for name in op.refs()):
            return
        rule = _RULES.get(op.type)
        if rule is None:
            raise _FixedError
        made = rule(self, op, axis)
        self.taken.add(id(op))
        if made is not None:
            self.tags[op.outputs[0].name] = made

    # -- what may see the cache's length -------------------------------------------------------------------------------

    def first_rows(self, op: Op, axis: int) -> tuple[int, _Stage]:
        """A slice of a row from its beginning, which leaves the other axes whole."""
        x, row = self.index.tensor(single(op, "x")), single(op, "x")
        bounds = "end" if op.type == "slice_by_index" else "size"
        begin, end = self.index.value(op, "begin"), self.index.value(op, bounds)
        masks = [self.index.value(op, key, []) for key in ("begin_mask", "end_mask", "squeeze_mask", "stride")]
        plain = all(isinstance(m, list) and not any(m) for m in masks[:3]) and masks[3] in ([], [1] * len(begin))
        if x is None or not isinstance(row, Ref) or self.tag(row) != (axis, "cache") or not plain or any(begin):
            raise _FixedError
        shape = [size or 0 for size in x.shape]
        sizes = [shape[i] if size == -1 and bounds == "size" else int(size) for i, size in enumerate(end)]
        whole = all(sizes[i] == shape[i] for i in range(x.rank) if i != axis)
        if not whole or not 0 < sizes[axis] <= shape[axis]:
            raise _FixedError
        self.widths = {sizes[axis] if width == shape[axis] else width for width in self.widths}
        self.aliases[op.outputs[0].name] = self.aliases.get(row.name, row.name)
        return axis, "cache"

    def attention(self, op: Op, axis: int) -> None:
        key, value = self.tag(single(op, "key")), self.tag(single(op, "value"))
        rank = self.rank(single(op, "query"))
        if self.tag(single(op, "query")) or key != (rank - 2, "cache") or value != (rank - 2, "cache"):
            raise _FixedError
        self.mask(single(op, "attn_mask"))

    def product(self, op: Op, axis: int) -> tuple[int, _Stage] | None:
        x, y = self.tag(single(op, "x")), self.tag(single(op, "y"))
        rank = self.rank(single(op, "y"))
        turns = [self.index.value(op, f"transpose_{side}", False) for side in "xy"]
        if x is None and y == (rank - 2, "cache") and turns == [False, True]:
            return rank - 1, "scores"
        if x == (rank - 1, "shares") and y == (rank - 2, "cache") and turns == [False, False]:
            return None
        raise _FixedError

    def scaled(self, op: Op, axis: int) -> tuple[int, _Stage]:
        """Soft-capping: tanh, and a product with one number."""
        x, y = single(op, "x"), single(op, "y")
        if self.tag(x) is None:
            x, y = y, x
        found, factor = self.tag(x), self.index.tensor(y) if y is not None else None
        if found is None or found[1] != "scores" or (op.type == "mul" and (factor is None or factor.shape != ())):
            raise _FixedError
        return found

    def masked(self, op: Op, axis: int) -> tuple[int, _Stage]:
        x, y = single(op, "x"), single(op, "y")
        if (self.tag(x) or (0, ""))[1] != "scores":
            x, y = y, x
        found = self.tag(x)
        if found is None or found[1] != "scores":
            raise _FixedError
        self.mask(y)
        return found[0], "masked"

    def softmax(self, op: Op, axis: int) -> tuple[int, _Stage]:
        found, rank = self.tag(single(op, "x")), self.rank(single(op, "x"))
        if found != (rank - 1, "masked") or self.index.value(op, "axis", -1) not in (-1, rank - 1):
            raise _FixedError
        return rank - 1, "shares"

    def mask(self, argument: Argument | None) -> None:
        """An input, or one that is tiled along other axes than its last."""
        tile = self.index.maker(argument, "tile")
        if tile is not None:
            reps = self.index.value(tile, "reps")
            if not isinstance(reps, list) or reps[-1] != 1 or not isinstance(argument, Ref):
                raise _FixedError
            self.taken.add(id(tile))
            self.tags[argument.name] = (len(reps) - 1, "mask")
            argument = single(tile, "x")
        inputs = {value.name: value.type for value in self.function.inputs}
        tensor = inputs.get(argument.name) if isinstance(argument, Ref) else None
        if not isinstance(argument, Ref) or not isinstance(tensor, TensorType) or not tensor.is_float:
            raise _FixedError
        self.widths.add(tensor.shape[-1] or 0)
        self.masks.append(argument.name)

    def rank(self, argument: Argument | None) -> int:
        tensor = self.index.tensor(argument)
        return tensor.rank if tensor else 0

    def size(self, argument: Argument, axis: int) -> int:
        tensor = self.index.tensor(argument)
        return (tensor.shape[axis] or 0) if tensor else 0

    # -- the result ----------------------------------------------------------------------------------------------------

    def rewritten(self, prefix: Prefix) -> Function:
        open_axes = {name: axis for name, (axis, _) in self.tags.items()}
        inputs = []
        for value in self.function.inputs:
            if isinstance(value.type, StateType) and value.name == prefix.state:
                inputs.append(Value(value.name, StateType(_open(value.type.tensor, prefix.axis))))
            elif isinstance(value.type, TensorType) and value.name in prefix.masks:
                inputs.append(Value(value.name, _open(value.type, value.type.rank - 1)))
            else:
                inputs.append(value)
        ops = []
        for op in self.function.ops:
            if any(output.name in self.aliases for output in op.outputs):
                continue
            given = {key: tuple(self.renamed(arguments)) for key, arguments in op.inputs.items()}
            outputs = tuple(
                Value(o.name, _open(o.type, open_axes[o.name]))
                if o.name in open_axes and isinstance(o.type, TensorType)
                else o
                for o in op.outputs
            )
            ops.append(replace(op, inputs=given, outputs=outputs))
        return replace(self.function, inputs=tuple(inputs), ops=tuple(ops))

    def renamed(self, arguments: Iterable[Argument]) -> Iterable[Argument]:
        for argument in arguments:
            name = self.aliases.get(argument.name) if isinstance(argument, Ref) else None
            yield argument if name is None else Ref(name)


def _open(tensor: TensorType, axis: int) -> TensorType:
    return TensorType(tensor.dtype, tuple(None if i == axis else size for i, size in enumerate(tensor.shape)))


_RULES = {
    "slice_by_index": _Trace.first_rows,
    "slice_by_size": _Trace.first_rows,
    "scaled_dot_product_attention": _Trace.attention,
    "matmul": _Trace.product,
    "mul": _Trace.scaled,
    "tanh": _Trace.scaled,
    "add": _Trace.masked,
    "softmax": _Trace.softmax,
}
