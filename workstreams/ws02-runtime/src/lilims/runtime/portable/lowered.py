"""The functions of a program as graphs: as few as there can be, and how each function is called as one of them.

Knows the order of things: fusion/, sharing/, then compiler.py. Must not know ONNX Runtime or where results are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .compiler import compile_function
from .fusion import fuse
from .lowering.scope import Precision
from .plan import Call, Graph, Prefix
from .program import Function
from .sharing.family import Family, Member, families
from .sharing.prefix import free_rows

__all__ = ["Group", "Lowered", "group"]


@dataclass(frozen=True, eq=False)
class Lowered:
    """A graph and the functions that it stands for.

    Attributes:
        function: what was lowered, to name its ops and values.
        native: whether the graph has ops of lilims-kernels, and takes weights from the package itself.
    """

    graph: Graph
    calls: dict[str, Call]
    function: Function
    native: bool = False


@dataclass(frozen=True, eq=False)
class Group:
    """Functions that become one graph, not lowered yet."""

    family: Family
    prefixes: dict[str, Prefix | None]

    def lower(self, precision: Precision, *, kernels: bool = False) -> Lowered:
        """Lowers them; `kernels` as in `compile_function`.

        Raises:
            UnsupportedOpError, PackageError: as `compile_function`.
        """
        graph = compile_function(self.family.function, precision, kernels=kernels)
        return Lowered(graph, self.calls(), self.family.function)

    def calls(self) -> dict[str, Call]:
        """How each function is called."""
        members = self.family.members.items()
        return {name: Call(member.every, self.prefixes[name], member.ops) for name, member in members}


def group(functions: Mapping[str, Function], precision: Precision, *, fused: bool = True) -> list[Group]:
    """Functions in groups, one graph each. The plain graph, op by op, is each function's own.

    So is one that checks every result ("fp16"): with sizes left free ONNX Runtime takes many seconds to open it.

    Raises:
        PackageError: a function contradicts itself.
    """
    if not fused or precision == "fp16":
        own = {name: fuse(function, precision) if fused else function for name, function in functions.items()}
        return [Group(Family(f, {name: Member({}, {})}), {name: None}) for name, f in own.items()]
    rewritten = {name: free_rows(fuse(function, precision)) for name, function in functions.items()}
    found = families({name: function for name, (function, _) in rewritten.items()})
    return [Group(family, {name: rewritten[name][1] for name in family.members}) for family in found]
