"""What the rules look at: one package, read without its weights.

Knows the program's form. Must not know rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lilims.core.files import directory_size
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.program import Constant, Function, Op, Program, Ref, StateType, TensorType, ValueType
from lilims.runtime.portable.reader import read_program

from .measure import Measured
from .rule import Device

__all__ = ["Graph", "Subject", "read_subject"]

_DEVICES: dict[str, set[Device]] = {
    "CPU_AND_NE": {"ane"}, "CPU_AND_GPU": {"gpu"}, "CPU_ONLY": set(), "ALL": {"ane", "gpu"},
}  # fmt: skip


@dataclass(frozen=True)
class Graph:
    """A function with what its ops are asked for most: who makes a value, who takes it, of which type it is."""

    function: Function

    @cached_property
    def ops(self) -> tuple[Op, ...]:
        """All ops in order, those of nested blocks behind the op that holds them."""
        return tuple(_flat(self.function.ops))

    @cached_property
    def makers(self) -> dict[str, Op]:
        return {value.name: op for op in self.ops for value in op.outputs}

    @cached_property
    def takers(self) -> dict[str, list[Op]]:
        found: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in dict.fromkeys(op.refs()):
                found.setdefault(name, []).append(op)
        return found

    @cached_property
    def types(self) -> dict[str, ValueType]:
        found = {value.name: value.type for value in self.function.inputs}
        found.update((value.name, value.type) for op in self.ops for value in op.outputs)
        return found

    @cached_property
    def states(self) -> dict[str, TensorType]:
        return {v.name: v.type.tensor for v in self.function.inputs if isinstance(v.type, StateType)}

    def ref(self, op: Op, key: str) -> str:
        """The name of the value that an op takes as `key`; empty for a literal or none."""
        given = op.inputs.get(key)
        return given[0].name if given and isinstance(given[0], Ref) else ""

    def tensor(self, name: str) -> TensorType | None:
        """The type of a value that is a tensor."""
        found = self.types.get(name)
        return found if isinstance(found, TensorType) else None

    def literal(self, op: Op, key: str) -> Constant | None:
        """The literal that an op takes as `key`, itself or as a `const`."""
        given = op.inputs.get(key)
        if given and isinstance(given[0], Ref):
            maker = self.makers.get(given[0].name)
            given = maker.inputs.get("val") if maker is not None and maker.type == "const" else None
        return given[0] if given and isinstance(given[0], Constant) else None


@dataclass(frozen=True)
class Subject:
    """A package.

    Attributes:
        units: the compute units that it declares; None: none, and Core ML takes all.
        coremltools: the version that made it; empty where it does not say.
        largest: bytes of its largest file, `bytes` of all.
        measured: what a run showed, for the rules that need one; None without a run.
    """

    path: Path
    program: Program
    units: str | None
    coremltools: str
    largest: int
    bytes: int
    measured: Measured | None = None
    graphs: tuple[Graph, ...] = field(default=())

    def uses(self, device: Device) -> bool:
        """Whether Core ML may take a device for it."""
        return device in _DEVICES.get(self.units or "ALL", _DEVICES["ALL"])


def read_subject(
    path: Path, *, units: str | None = None, coremltools: str = "", measured: Measured | None = None
) -> Subject:
    """Reads a package; what it says of itself goes before `units` and `coremltools`.

    Raises:
        PackageError, UnsupportedError: it is damaged, or not an ML Program.
    """
    package = Package(path)
    program = read_program(package)
    about = dict(package.spec.description.metadata.userDefined)
    sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    return Subject(
        path=path,
        program=program,
        units=about.get("lilims.compute_units", units),
        coremltools=about.get("com.github.apple.coremltools.version", coremltools),
        largest=max(sizes, default=0),
        bytes=directory_size(path),
        measured=measured,
        graphs=tuple(Graph(function) for function in program.functions.values()),
    )


def _flat(ops: Iterable[Op]) -> Iterator[Op]:
    for op in ops:
        yield op
        for block in op.blocks:
            yield from _flat(block.ops)
