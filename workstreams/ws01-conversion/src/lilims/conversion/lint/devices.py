"""Rules about what a device takes: sizes, and ops that leave the Neural Engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lilims.core.console import bytes_text

from .rule import REPORTED, Hit, rule
from .subject import Graph, Subject

__all__ = ["LARGEST_FILE"]

LARGEST_FILE = 1_000_000_000  # bytes
_CHUNK = 32  # rows
_LEAVING = frozenset(
    {
        *("cond", "while_loop"),
        *("make_list", "list_gather", "list_length", "list_read", "list_scatter", "list_write"),
        *("lstm", "gru", "rnn"),
        *("reduce_prod", "scatter", "scatter_along_axis", "scatter_nd"),
    }
)


@rule(
    "L501",
    "warning",
    "a file over a gigabyte",
    reason="packages over about 1 GB fall off the Neural Engine without notice, or fail to compile for it",
    source="https://github.com/apple/coremltools/issues/2503",
    remedy="split the model with --max-chunk-mb, or quantise it further",
    device="ane",
)
def large(subject: Subject) -> Iterator[Hit]:
    if subject.largest > LARGEST_FILE:
        yield Hit(f"the largest file has {bytes_text(subject.largest)}")


@rule(
    "L502",
    "warning",
    "ops that leave the Neural Engine",
    reason="control flow, lists, scatters, recurrent cells and reduce_prod have no path on the Neural Engine",
    source="https://ane-guide.readthedocs.io/en/latest/part-1-machine/04-capability-surface.html, "
    "https://aneforge.readthedocs.io/en/latest/capabilities/",
    remedy="write them with other ops (slice_update for a scatter, a mask for a condition), or declare other units",
    device="ane",
)
def leaving(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        found = [op for op in graph.ops if op.type in _LEAVING]
        if found:
            counts = ", ".join(f"{count} × {type_}" for type_, count in Counter(op.type for op in found).items())
            yield Hit(counts, graph.function.name, found[0].name)


@rule(
    "L503",
    "warning",
    "large state writes on the Neural Engine",
    reason="a write of 128 rows into a state fails on the Neural Engine where one of 16 or 32 works",
    source="https://github.com/apple/coremltools/issues/2553, https://github.com/Anemll/Anemll/issues/27",
    remedy="convert with --profile ane, or --prefill-chunk 32",
    device="ane",
)
def large_writes(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        for op in graph.ops:
            rows = _rows_written(graph, graph.ref(op, "data")) if op.type == "write_state" else 0
            if rows > _CHUNK:
                yield Hit(f"{rows} rows at once", graph.function.name, op.name)
                break


def _rows_written(graph: Graph, name: str) -> int:
    maker = graph.makers.get(name)
    update = graph.tensor(graph.ref(maker, "update")) if maker is not None and maker.type == "slice_update" else None
    return (update.shape[-2] or 0) if update is not None and update.rank > 2 else 0


@rule(
    "L504",
    "info",
    "no compute units declared",
    reason="Core ML then chooses among all, and what it chooses differs by device and version",
    source=REPORTED,
    remedy="set the user-defined metadata lilims.compute_units, and pass the same to MLModelConfiguration",
)
def undeclared(subject: Subject) -> Iterator[Hit]:
    if subject.units is None:
        yield Hit("rules of every device are applied")
