"""Functions that are one graph up to sizes: decode, prefill, score and buckets of a decoder.

    Given                                              Result: one function of S and n, and how each member calls it
    prefill: tile(%mask); …; gather(%x, %last); …      tile(%mask); …; gather(%x, %last); …
    score:   tile(%mask); …; …                         with last = 0, 1, …, S - 1, which takes every row as it is
    decode:  …; …                                      and S = 1, where the tiled mask is what broadcasting gives

Two functions are laid side by side, op by op: types, literals (of the same place in the weight file, or equal) and the
values that they read must be the same. Where sizes differ they become free. That is sound only for ops whose lowering
does not look at the size, so those are listed. A `reshape` may differ in one number, which becomes -1, and a slice in
the ends of axes that it takes whole. The two ops above may be absent from a member. Anything else, and they stay apart.

Knows ops and what they do with sizes. Must not know ONNX or how calls are made (lowered.py does).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..fusion.match import Index, literal_argument, single
from ..program import Argument, Constant, Function, Op, Ref, StateType, TensorType, Value, ValueType

__all__ = ["Family", "Member", "families"]

# Ops whose lowering emits the same nodes whatever a free size is. `_FIXED_AXES`: axes that must not be free.
# fmt: off
_FREE = frozenset((
    "abs", "add", "cast", "concat", "conv", "expand_dims", "gather", "gelu", "greater_equal", "identity", "layer_norm",
    "linear", "matmul", "maximum", "mul", "pad", "real_div", "reduce_max", "reduce_mean", "reduce_min", "reduce_sum",
    "relu", "reshape", "rsqrt", "scaled_dot_product_attention", "sigmoid", "silu", "slice_by_index", "softmax", "split",
    "sqrt", "square", "squeeze", "sub", "tanh", "tile", "topk", "transpose", "lilims.quantized_gather",
    "lilims.quantized_linear", "lilims.read_state_row", "lilims.rms_norm", "lilims.write_state_row",
))
# fmt: on
_FIXED_AXES = {"layer_norm": "axes", "pad": "pad", "split": "axis", "squeeze": "axes", "topk": "axis"}
# Literals that may differ in places, and what stands there then: "what remains", "to the end".
_OPEN = {("reshape", "shape"): -1, ("slice_by_index", "end"): (1 << 31) - 1}
_SLICE_MASKS = ("begin_mask", "end_mask", "squeeze_mask", "stride")
_COMPARED = 1 << 16  # bytes: longer literals must lie at one place in the weight file


@dataclass(frozen=True)
class Member:
    """How a function is called as the family's.

    Attributes:
        every: inputs of the family that the function lacks: they get the row numbers 0, 1, …, n - 1; their n.
        ops: the family's ops by name, and the function's own name for each.
    """

    every: dict[str, int]
    ops: dict[str, str]


@dataclass(frozen=True)
class Family:
    """One function that stands for several.

    The outputs of each member are the family's, in the same order.
    """

    function: Function
    members: dict[str, Member]


class _DifferError(Exception):
    """The functions are not one."""


def families(functions: Mapping[str, Function]) -> list[Family]:
    """Groups functions; each is in one family, perhaps alone. The longest function of a family is its base."""
    found: list[Family] = []
    for name, function in sorted(functions.items(), key=lambda item: -len(_working(item[1]))):
        for i, family in enumerate(found):
            try:
                found[i] = _Merge(family.function, function).result(family, name)
                break
            except _DifferError:
                continue
        else:
            own = {op.name: op.name for op in function.ops}
            found.append(Family(function, {name: Member({}, own)}))
    return found


def _working(function: Function) -> list[Op]:
    return [op for op in function.ops if op.type != "const"]


@dataclass
class _Merge:
    """One function laid beside the family's."""

    family: Function
    special: Function
    images: dict[str, set[str]] = field(default_factory=dict)  # special's value -> the family's that it equals
    types: dict[str, ValueType] = field(default_factory=dict)  # the family's values, with the sizes that are free now
    tiled: dict[str, list[int]] = field(default_factory=dict)  # the family's tiles that special lacks -> their reps
    every: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.general, self.own = Index(self.family), Index(self.special)
        self.types = dict(self.general.types)

    def result(self, family: Family, name: str) -> Family:
        self.inputs()
        self.walk()
        if len(self.family.outputs) != len(self.special.outputs):
            raise _DifferError
        for mine, other in zip(self.special.outputs, self.family.outputs, strict=True):
            if mine != other or other not in self.images.get(mine, ()):
                raise _DifferError  # results are named after the family's outputs
        for op in self.ops:
            self.check_free(op)
        inputs = tuple(Value(v.name, self.types[v.name]) for v in self.family.inputs)
        constants = [op for op in self.family.ops if op.type == "const"]
        function = replace(self.family, inputs=inputs, ops=(*constants, *self.ops))
        return Family(function, {**family.members, name: Member(self.every, self.names)})

    def inputs(self) -> None:
        others = {value.name: value.type for value in self.family.inputs}
        for value in self.special.inputs:
            if value.name not in others:
                raise _DifferError
            self.pair(value, Value(value.name, others[value.name]))
        # `walk` gives the rest their meaning, or fails

    def walk(self) -> None:
        mine = _working(self.special)
        at = 0
        for op in _working(self.family):
            if at < len(mine) and self.alike(op, mine[at]):
                self.ops.append(self.merged(op, mine[at]))
                self.names[op.name] = mine[at].name
                at += 1
            else:
                self.ops.append(self.lacking(op))
        given = {value.name for value in self.special.inputs} | self.every.keys()
        if at < len(mine) or any(value.name not in given for value in self.family.inputs):
            raise _DifferError

    # -- ops that both have --------------------------------------------------------------------------------------------

    def alike(self, op: Op, mine: Op) -> bool:
        """Whether they are the same op on the same values; literals are compared by `merged`."""
        if op.type != mine.type or op.blocks or mine.blocks or op.inputs.keys() != mine.inputs.keys():
            return False
        if len(op.outputs) != len(mine.outputs) or op.attributes or mine.attributes:
            return False
        return all(
            len(arguments) == len(mine.inputs[key])
            and all(self.same_value(a, b) for a, b in zip(arguments, mine.inputs[key], strict=True))
            for key, arguments in op.inputs.items()
        )

    def same_value(self, argument: Argument, mine: Argument) -> bool:
        ours, theirs = _literal(self.general, argument), _literal(self.own, mine)
        if ours is not None or theirs is not None:
            return ours is not None and theirs is not None
        return isinstance(argument, Ref) and isinstance(mine, Ref) and argument.name in self.images.get(mine.name, ())

    def merged(self, op: Op, mine: Op) -> Op:
        self.check_tiles(op, mine)
        inputs = {
            key: tuple(self.literal(op, mine, key, a, b) for a, b in zip(arguments, mine.inputs[key], strict=True))
            for key, arguments in op.inputs.items()
        }
        for output, own in zip(op.outputs, mine.outputs, strict=True):
            self.pair(own, output)
        outputs = tuple(Value(o.name, self.types[o.name]) for o in op.outputs)
        return replace(op, inputs=inputs, outputs=outputs)

    def literal(self, op: Op, mine: Op, key: str, argument: Argument, own: Argument) -> Argument:
        ours, theirs = _literal(self.general, argument), _literal(self.own, own)
        if ours is None or theirs is None or _equal(ours, theirs):
            return argument
        if (op.type, key) not in _OPEN or ours.type.shape != theirs.type.shape or ours.type.rank != 1:
            raise _DifferError
        a, b = ours.load().tolist(), theirs.load().tolist()
        differing = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        if op.type == "reshape":
            rest = [x for i, x in enumerate(a) if i not in differing]
            sound = len(differing) == 1 and min(rest, default=1) > 0 and b[differing[0]] > 0
        else:
            sound = self.takes_all(op, mine, differing, a, b)
        if not sound:
            raise _DifferError
        opened = [_OPEN[op.type, key] if i in differing else x for i, x in enumerate(a)]
        return literal_argument(np.array(opened, np.int32), "int32")

    def takes_all(self, op: Op, mine: Op, axes: list[int], ends: list[int], own_ends: list[int]) -> bool:
        """Whether both slices take these axes from 0 to their ends."""
        tensor, own = self.general.tensor(single(op, "x")), self.own.tensor(single(mine, "x"))
        if tensor is None or own is None or any(op.inputs.get(key) for key in _SLICE_MASKS):
            return False
        begins = [self.general.value(op, "begin"), self.own.value(mine, "begin")]
        if not all(isinstance(begin, list) for begin in begins):
            return False
        return all(
            begins[0][i] == begins[1][i] == 0
            and own_ends[i] == own.shape[i]
            and ends[i] in (tensor.shape[i], _OPEN["slice_by_index", "end"])
            for i in axes
        )

    def pair(self, mine: Value, other: Value) -> None:
        """Notes that two values are one; sizes that differ become free."""
        ours, theirs = self.types[other.name], mine.type
        if isinstance(ours, StateType) and ours != theirs:
            raise _DifferError
        if isinstance(ours, TensorType):
            if not isinstance(theirs, TensorType) or (ours.dtype, ours.rank) != (theirs.dtype, theirs.rank):
                raise _DifferError
            sizes = tuple(a if a == b else None for a, b in zip(ours.shape, theirs.shape, strict=True))
            self.types[other.name] = TensorType(ours.dtype, sizes)
        elif type(ours) is not type(theirs):
            raise _DifferError
        self.images.setdefault(mine.name, set()).add(other.name)

    # -- ops that only the family has ----------------------------------------------------------------------------------

    def lacking(self, op: Op) -> Op:
        x = single(op, "x")
        same = [name for name, images in self.images.items() if isinstance(x, Ref) and x.name in images]
        tensor = self.own.tensor(Ref(same[0])) if same else None
        if tensor is None or len(op.outputs) != 1:
            raise _DifferError
        output = op.outputs[0]
        if op.type == "tile":
            reps = self.general.value(op, "reps")
            if not isinstance(reps, list) or any(r != 1 and tensor.shape[i] != 1 for i, r in enumerate(reps)):
                raise _DifferError
            self.tiled[output.name] = reps
            sizes = [a if r == 1 else None for a, r in zip(tensor.shape, reps, strict=True)]
        elif op.type == "gather":
            sizes = self.every_row(op, tensor)
        else:
            raise _DifferError
        for name in same:
            self.images[name].add(output.name)
        ours = self.types[output.name]
        assert isinstance(ours, TensorType)
        free = tuple(a if a == b else None for a, b in zip(ours.shape, sizes, strict=True))
        self.types[output.name] = TensorType(ours.dtype, free)
        return replace(op, outputs=(Value(output.name, self.types[output.name]),))

    def every_row(self, op: Op, tensor: TensorType) -> list[int | None]:
        """A gather whose indices are an input that nothing else reads: it takes all rows in their order."""
        indices, axis = single(op, "indices"), self.general.value(op, "axis", 0)
        inputs = {value.name for value in self.family.inputs} - {value.name for value in self.special.inputs}
        if not isinstance(indices, Ref) or indices.name not in inputs or not self.general.used_once(indices):
            raise _DifferError
        count, kind = tensor.shape[axis], self.types[indices.name]
        if count is None or not isinstance(kind, TensorType) or kind.rank != 1 or kind.dtype != "int32":
            raise _DifferError
        if self.general.value(op, "batch_dims", 0) != 0:
            raise _DifferError
        self.every[indices.name] = count
        self.types[indices.name] = TensorType(kind.dtype, (kind.shape[0] if kind.shape[0] == count else None,))
        return list(tensor.shape)

    def check_tiles(self, op: Op, mine: Op) -> None:
        """A tile that is absent must be what broadcasting does anyway: a result of the tiled size."""
        for key, arguments in op.inputs.items():
            for argument in arguments:
                reps = self.tiled.get(argument.name) if isinstance(argument, Ref) else None
                if reps is not None and not self.broadcasts(op, mine, key, reps):
                    raise _DifferError

    def broadcasts(self, op: Op, mine: Op, key: str, reps: list[int]) -> bool:
        """Whether the result has, where the tile repeats, as many places as it makes."""
        if op.type == "scaled_dot_product_attention" and key == "attn_mask" and reps[-1] == 1:
            result, reps = self.own.tensor(single(mine, "query")), reps[:-1]
            sizes = result.shape[:-1] if result else ()
        elif op.type == "add":
            result = self.own.tensor(Ref(mine.outputs[0].name))
            sizes = result.shape if result else ()
        else:
            return False
        return len(sizes) == len(reps) and all(r in (1, size) for size, r in zip(sizes, reps, strict=True))

    # -- sizes that became free ----------------------------------------------------------------------------------------

    def check_free(self, op: Op) -> None:
        reads = [self.types.get(name) for name in op.refs()]
        given = {o.name: self.types[o.name] for o in op.outputs}
        free = [t for t in (*reads, *given.values()) if isinstance(t, TensorType) and None in t.shape]
        if free and op.type not in _FREE:
            raise _DifferError
        x = single(op, "x")
        tensor = self.types.get(x.name) if isinstance(x, Ref) else None
        if not free or op.type not in _FIXED_AXES or not isinstance(tensor, TensorType):
            return
        value = self.general.value(op, _FIXED_AXES[op.type])
        if value is Ellipsis or value is None:
            raise _DifferError
        axes = value if isinstance(value, list) else [value]
        if op.type == "pad":  # before and behind each of the last axes
            axes = [i // 2 - len(axes) // 2 for i, size in enumerate(axes) if size]
        if any(tensor.shape[axis] is None for axis in axes):
            raise _DifferError


def _literal(index: Index, argument: Argument) -> Constant | None:
    """The literal that an argument is: given in place, or a `const` op's."""
    if isinstance(argument, Ref):
        maker = index.maker(argument, "const")
        value = single(maker, "val") if maker else None
        return value if isinstance(value, Constant) else None
    return argument


def _equal(a: Constant, b: Constant) -> bool:
    if a.type != b.type:
        return False
    if a.blob is not None and a.blob == b.blob:
        return True
    sizes = [size or 1 for size in a.type.shape]
    if int(np.prod(sizes, dtype=np.int64)) * 8 > _COMPARED:
        return False
    mine, other = a.load(), b.load()
    return mine.dtype == other.dtype and (mine.tobytes() == other.tobytes() or bool(np.array_equal(mine, other)))
