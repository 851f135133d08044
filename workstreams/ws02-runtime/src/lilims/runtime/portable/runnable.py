"""A package's functions, ready to run: read, lowered and opened once, however many models name them.

Knows what is shared: one parse and one mapping of a package, one session for functions that are one graph, the cache.
Must not know how inputs are made or what ops mean.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lilims.core.errors import ExecutionError, StorageError, UsageError

from .cache import Cache
from .cache.entry import entry_key, read_functions, read_graphs, write_entry
from .cache.store import Entry, Store
from .lowering.dtypes import Precision
from .package import Package
from .plan import Call, Plan
from .program import Function, Op, Program, TensorType
from .reader import read_program
from .session import Executable, Native, return_freed_memory

if TYPE_CHECKING:  # what makes graphs imports onnx, which a graph that comes from the cache does without
    from .lowered import Group, Lowered

__all__ = ["Options", "Runnable", "Runnables", "open_package"]


@dataclass(frozen=True)
class Options:
    """What sets one way of running a package apart from another; see `MLModel`."""

    precision: Precision = "fast"
    threads: int | None = None
    fused: bool = True
    cache: Cache | None = None
    trace: Path | None = None
    library: Path | None = None


@dataclass(frozen=True, eq=False)
class Runnable:
    """A function as the graph that runs it.

    Attributes:
        lowered_function: what the graph was made of; it may stand for several functions.
    """

    executable: Executable
    plan: Plan
    call: Call
    lowered_function: Function
    traced: bool

    def own_name(self, op: Op) -> str | None:
        """The function's own name for an op of the graph; None where it has no such op."""
        return self.call.ops.get(op.name) if self.call.ops else op.name

    def end_trace(self) -> Path:
        if not self.traced:
            raise UsageError("this model is not traced", hint="make it with trace=PATH")
        return self.executable.end_trace()


class _Opened:
    """A package and, while somebody needs it, its program."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self._program: Program | None = None
        self._reading = threading.Lock()

    @property
    def program(self) -> Program:
        with self._reading:
            if self._program is None:
                self._program = read_program(self.package)
            return self._program

    def forget_program(self) -> None:
        """Lets go of the program and of the pages of its weights; it can be read again."""
        with self._reading:
            self._program = None
            self.package.close_blobs()


class Runnables:
    """The functions of a package, run in one way. Each group of functions is opened when one of them is asked for."""

    def __init__(self, opened: _Opened, options: Options) -> None:
        self._opened = opened
        self._options = options
        self._loading = threading.Lock()
        self._made: dict[str, Runnable] = {}
        self._groups: list[Group] | None = None
        cache = options.cache if options.fused and options.precision != "fp16" else None
        self._store = None if cache is None else Store(cache.folder, limit=cache.limit)
        native = options.library is not None
        self._key = "" if cache is None else entry_key(cache.identity, options.precision, native=native)
        self._entry = None if self._store is None else self._store.get(self._key)

    @property
    def package(self) -> Package:
        return self._opened.package

    @property
    def functions(self) -> Mapping[str, Function]:
        """The functions; without their ops where they come from the cache."""
        return self._opened.program.functions if self._entry is None else read_functions(self._entry.body)[0]

    @property
    def default_function(self) -> str:
        return self._opened.program.default_function if self._entry is None else read_functions(self._entry.body)[1]

    def free_inputs(self, name: str) -> Mapping[str, TensorType]:
        """The inputs of a function's graph where a call may have fewer tokens than the function; else none.

        Raises:
            PackageError: the program contradicts itself.
        """
        with self._loading:
            for inputs, calls in self._calls():
                if name in calls and calls[name].takes_any_count(inputs):
                    return inputs
        return {}

    def _calls(self) -> Iterator[tuple[dict[str, TensorType], Mapping[str, Call]]]:
        """The inputs and calls of every graph; none is opened or lowered."""
        if self._entry is not None:
            for kept in read_graphs(self._entry.body):
                yield {name: tensor for name, (_, tensor) in kept.plan.inputs.items()}, kept.calls
            return
        for found in self._grouped():
            values = {value.name: value.type for value in found.family.function.inputs}
            yield {name: tensor for name, tensor in values.items() if isinstance(tensor, TensorType)}, found.calls()

    def runnable(self, name: str) -> Runnable:
        """A function by name.

        Raises:
            PackageError, UnsupportedError, ExecutionError: it cannot be lowered, or ONNX Runtime refuses it.
        """
        with self._loading:
            if name not in self._made:
                self._open(name)
            return self._made[name]

    def _open(self, name: str) -> None:
        if self._store is not None:
            for _ in range(2):  # once more where an entry is damaged
                entry = self._entry or self._write(self._store)
                if entry is None:
                    break
                if self._open_kept(entry, name):
                    return
                _LOG.warning("%s: the cache's entry %s is damaged; it is made again", self.package.path, self._key)
                self._store.drop(self._key)
                self._entry = None
        options = self._options
        lowered = self._lower(next(g for g in self._grouped() if name in g.family.members))
        native = self._native(lowered.native)
        executable = Executable(lowered.graph, threads=options.threads, native=native, trace=options.trace)
        lowered.graph.weights.clear()  # the session holds those that it did not repack
        return_freed_memory()
        self._keep(executable, lowered.graph, lowered.calls, lowered.function)

    def _grouped(self) -> list[Group]:
        if self._groups is None:
            from .lowered import group

            functions = self._opened.program.functions
            self._groups = group(functions, self._options.precision, fused=self._options.fused)
        return self._groups

    def _lower(self, found: Group) -> Lowered:
        """A group as a graph: on the package's own weights where lilims-kernels can take them."""
        from .in_package import keep_in_package

        precision = self._options.precision
        if self._options.library is not None and self._options.fused and precision != "fp16":
            lowered = found.lower(precision, kernels=True)
            if keep_in_package(lowered.graph, self.package):
                return replace(lowered, native=True)
        return found.lower(precision)

    def _native(self, wanted: bool) -> Native | None:
        library = self._options.library
        return Native(library, self.package.spec_path.parent) if wanted and library is not None else None

    def _write(self, store: Store) -> Entry | None:
        """Puts the package's graphs into the cache; None where they are too large, or it cannot be written."""
        program, graphs = self._opened.program, [self._lower(g) for g in self._grouped()]
        size = sum(weight.nbytes for lowered in graphs for weight in lowered.graph.weights.values())
        if size * _ROOM > store.limit:
            _LOG.info("%s: too large for the cache's limit of %d bytes", self.package.path, store.limit)
            return None

        def write(folder: Path) -> dict[str, object]:
            return write_entry(folder, program.functions, program.default_function, graphs, self._native(True))

        try:
            self._entry = store.put(self._key, str(self.package.path), write)
        except StorageError as exc:
            _LOG.warning("%s: not kept in the cache: %s", self.package.path, exc)
            return None
        if self._entry is not None:
            self._groups = None
            self._opened.forget_program()
        return self._entry

    def _open_kept(self, entry: Entry, name: str) -> bool:
        """Opens the graph of a function from the cache; False where its files are damaged."""
        for kept in read_graphs(entry.body):
            if name in kept.calls and entry.intact(kept.model):
                with ThreadPoolExecutor(1) as beside:  # reading the weights once takes no time of the session's making
                    intact = beside.submit(entry.intact, kept.weights)
                    try:
                        options = self._options
                        executable = Executable(
                            kept.plan,
                            threads=options.threads,
                            file=entry.path(kept.model),
                            optimised=kept.optimised,
                            native=self._native(kept.native),
                            trace=options.trace,
                        )
                    except ExecutionError:
                        return False
                if intact.result():
                    return_freed_memory()
                    self._keep(executable, kept.plan, kept.calls, self.functions[name])
                    return True
        return False

    def _keep(self, executable: Executable, plan: Plan, calls: Mapping[str, Call], function: Function) -> None:
        for name, call in calls.items():
            self._made[name] = Runnable(executable, plan, call, function, self._options.trace is not None)


_LOG = logging.getLogger(__name__)
_ROOM = 2.5  # what an entry takes at most, over its weights: those, and their packed forms

_OPENED: weakref.WeakValueDictionary[tuple[object, ...], _Opened] = weakref.WeakValueDictionary()
_RUNNABLES: weakref.WeakValueDictionary[tuple[object, ...], Runnables] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


def open_package(path: Path, options: Options, member: Package | None = None) -> Runnables:
    """A package opened for running in one way; what is open already is taken.

    Args:
        member: the model to open, of a package that is a pipeline.

    Raises:
        PackageError, UnsupportedError: as `Package`.
    """
    if member is not None and options.cache is not None:
        kept = replace(options.cache, identity=f"{options.cache.identity}/{member.member}")
        options = replace(options, cache=kept)
    with _OPENING:
        identity = (*Package.identity(path), member.member if member is not None else "")
        found = _RUNNABLES.get((*identity, options))
        if found is None:
            opened = _OPENED.get(identity)
            if opened is None:
                opened = _OPENED[identity] = _Opened(member or Package(path))
            found = _RUNNABLES[(*identity, options)] = Runnables(opened, options)
        return found
