"""Rules about states: their shapes, their number, how they are read and written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lilims.runtime.portable.program import Op, Ref

from .rule import REPORTED, Hit, rule
from .subject import Graph, Subject

__all__: list[str] = []

_MULTIPLE = 32
_MOVES = ("identity", "cast", "reshape", "transpose", "expand_dims", "squeeze", "concat", "slice_update", "scatter_nd")


@rule(
    "L101",
    "error",
    "state dimensions that are no multiples of 32",
    reason="the Neural Engine refuses a state whose rows or width are not multiples of 32; CPU and GPU take it",
    source="https://github.com/apple/coremltools/issues/2631",
    remedy="pad the state's last two dimensions to multiples of 32; masks keep the added rows out of sight",
)
def misaligned(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        for name, tensor in graph.states.items():
            odd = [size for size in tensor.shape[-2:] if size is None or size % _MULTIPLE]
            if odd:
                yield Hit(f"the state is {_shape(tensor.shape)}: {_shape(odd)} is off", graph.function.name, name)


@rule(
    "L102",
    "warning",
    "several states",
    reason="programs with two states load, then fail at predict on some Neural Engines; one state is what ships",
    source=REPORTED,
    remedy="put K and V of all layers into one state, [2 · layers, heads, rows, width]",
)
def several(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        if len(graph.states) > 1:
            names = ", ".join(list(graph.states)[:4]) + (", …" if len(graph.states) > 4 else "")
            yield Hit(f"{len(graph.states)} states ({names})", graph.function.name)


@rule(
    "L103",
    "error",
    "a second read of a state",
    reason="coremltools merges two read_state ops of one state, so that the second gives what was before the write",
    source="https://github.com/apple/coremltools/pull/2786; measured in this project",
    remedy="read a state once, at the top, and hand on what coreml_update_state returns",
)
def second_read(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        for state in graph.states:
            if extra := _extra_reads(graph, state):
                more = f", and {len(extra) - 1} more" if len(extra) > 1 else ""
                yield Hit(f"{state!r} is read again{more}", graph.function.name, extra[0].name)


def _extra_reads(graph: Graph, state: str) -> list[Op]:
    """Reads but the first one and those that stand right behind a write: that pair is what an update becomes."""
    extra, seen, just_written = [], False, False
    for op in (op for op in graph.ops if op.type != "const"):
        reads = op.type == "read_state" and graph.ref(op, "input") == state
        if reads and seen and not just_written:
            extra.append(op)
        seen = seen or reads
        just_written = op.type == "write_state" and graph.ref(op, "input") == state
    return extra


@rule(
    "L104",
    "error",
    "an output that feeds a state write",
    reason="Core ML crashes with a segmentation fault when it loads a function whose output is written to a state",
    source="https://github.com/apple/coremltools/pull/2713",
    remedy="return a value that is not part of what is written, or one that is computed anew",
)
def output_written(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        outputs = set(graph.function.outputs)
        for op in graph.ops:
            if op.type != "write_state":
                continue
            for name in sorted(_moved(graph, graph.ref(op, "data")) & outputs):
                yield Hit(f"the output {name!r} is written to {graph.ref(op, 'input')!r}", graph.function.name, op.name)


def _moved(graph: Graph, name: str) -> set[str]:
    """A value and those that it was put together from, by ops that only move numbers."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        maker = graph.makers.get(name)
        if name in found or not name:
            continue
        found.add(name)
        if maker is not None and maker.type in _MOVES:
            waiting += [r.name for key in ("x", "update", "updates", "values", "data") for r in _refs(maker, key)]
    return found


def _refs(op: Op, key: str) -> list[Ref]:
    return [argument for argument in op.inputs.get(key, ()) if isinstance(argument, Ref)]


def _shape(shape: Iterable[int | None]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape)
