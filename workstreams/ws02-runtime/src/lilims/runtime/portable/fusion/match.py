"""What every fusion needs to look at a function: who makes a value, who uses it, which values are literals.

Knows the IR. Must not know any pattern.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..program import Argument, Block, Constant, Function, Op, Ref, TensorType

__all__ = ["Index", "literal_argument", "prune"]

_EFFECTS = ("write_state", "coreml_update_state", "lilims.write_state_row")


class Index:
    """An index of one function, made once and not updated."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.makers = {output.name: op for op in function.ops for output in op.outputs}
        self.types = {value.name: value.type for value in function.inputs}
        self.types.update((output.name, output.type) for op in function.ops for output in op.outputs)
        self.uses = Counter(name for op in function.ops for name in _reads(op))
        self.uses.update(function.outputs)

    def maker(self, argument: Argument | None, *op_types: str) -> Op | None:
        """The op that makes an argument, if it is one of these types."""
        if isinstance(argument, Ref):
            op = self.makers.get(argument.name)
            if op is not None and op.type in op_types:
                return op
        return None

    def literal(self, op: Op, key: str) -> Constant | None:
        """The literal that an input is: given in place, or a `const` op's."""
        argument = single(op, key)
        if isinstance(argument, Ref):
            maker = self.maker(argument, "const")
            argument = single(maker, "val") if maker else None
        return argument if isinstance(argument, Constant) else None

    def value(self, op: Op, key: str, default: Any = None) -> Any:
        """A literal input as a Python scalar or list; the default where absent, `Ellipsis` where it is no literal."""
        if not op.inputs.get(key):
            return default
        constant = self.literal(op, key)
        return Ellipsis if constant is None else constant.load().tolist()

    def tensor(self, argument: Argument | None) -> TensorType | None:
        """The type of an argument that is a tensor."""
        found = argument.type if isinstance(argument, Constant) else self.types.get(argument.name) if argument else None
        return found if isinstance(found, TensorType) else None

    def used_once(self, argument: Argument | None) -> bool:
        return isinstance(argument, Ref) and self.uses[argument.name] == 1


def single(op: Op, key: str) -> Argument | None:
    """The one argument of an input, None where it is absent or variadic."""
    arguments = op.inputs.get(key, ())
    return arguments[0] if len(arguments) == 1 else None


def literal_argument(values: Any, dtype: str) -> Constant:
    """A literal made here, such as an axis that a pseudo-op needs."""
    array = np.asarray(values)
    return Constant(TensorType(dtype, array.shape), lambda: array)


def prune(function: Function) -> Function:
    """The function without ops whose results nobody uses."""
    needed = set(function.outputs)
    kept: list[Op] = []
    for op in reversed(function.ops):
        if op.type in _EFFECTS or op.blocks or any(output.name in needed for output in op.outputs):
            kept.append(op)
            needed.update(_reads(op))
    return replace(function, ops=tuple(reversed(kept)))


def _reads(op: Op) -> Iterator[str]:
    yield from op.refs()
    yield from _block_reads(op.blocks)


def _block_reads(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        yield from block.outputs
        for op in block.ops:
            yield from _reads(op)
