"""Rules about number formats: fp32 among fp16, and what leaves fp16's range when a decoder runs."""

from __future__ import annotations

from collections.abc import Iterator

from lilims.runtime.portable.program import Op, TensorType

from .rule import Hit, rule
from .subject import Graph, Subject
from .weights import activations

__all__: list[str] = []

_TYPED = "https://apple.github.io/coremltools/docs-guides/source/typed-execution-example.html"
_LOST = 0.5  # of a result's nonzero elements


@rule(
    "L401",
    "warning",
    "fp32 islands",
    reason="ops in fp32 among fp16 ones leave the Neural Engine, and each edge is a cast of the whole tensor",
    source=_TYPED,
    remedy="compute in fp16; where that overflows scale values down before, as RMSNorm here divides by max|x|",
)
def islands(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        wide = _wide(graph)
        if wide and activations(graph) == "fp16":
            yield Hit(f"{len(wide)} ops give fp32, the first {wide[0].type}", graph.function.name, wide[0].name)


@rule(
    "L402",
    "warning",
    "a program in fp32",
    reason="the Neural Engine computes in fp16: a typed fp32 program never runs there",
    source=_TYPED,
    remedy="convert with compute_precision=FLOAT16, or declare CPU_AND_GPU",
    device="ane",
)
def all_wide(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        if activations(graph) == "fp32":
            yield Hit("most results are fp32", graph.function.name)


@rule(
    "L403",
    "error",
    "fp16 overflow",
    reason="a result left fp16's range (65504): what follows is infinite or not a number on a device",
    source="measured on this package by the portable executor, every result rounded to fp16",
    remedy="scale the residual stream down, compute that op another way, or declare CPU_AND_GPU with fp32 there",
    measured=True,
)
def overflow(subject: Subject) -> Iterator[Hit]:
    if subject.measured is not None:
        for function, op in subject.measured.overflows.items():
            yield Hit(f"first here, {subject.measured.what}", function, op)


@rule(
    "L404",
    "warning",
    "fp16 underflow",
    reason="most of a result's nonzero elements became 0 in fp16 (below 3e-8), and not just before a sum",
    source="measured on this package by the portable executor, every result rounded to fp16",
    remedy="scale values up before that op and down behind it, or fold a small factor into a weight",
    measured=True,
)
def underflow(subject: Subject) -> Iterator[Hit]:
    if subject.measured is None:
        return
    for graph in subject.graphs:
        lost = subject.measured.underflows.get(graph.function.name, {})
        for op in graph.ops:
            share = lost.get(op.name, 0.0)
            if share > _LOST and not _harmless(graph, op):
                what = f"{100 * share:.0f} % of its nonzero elements became 0, {subject.measured.what}"
                yield Hit(what, graph.function.name, op.name)
                break


def _harmless(graph: Graph, op: Op) -> bool:
    """Shares of a softmax add up to 1; a sum that such a small number would change is reported itself."""
    takers = [taker.type for value in op.outputs for taker in graph.takers.get(value.name, [])]
    return op.type == "softmax" or (bool(takers) and set(takers) <= {"add", "sub", "maximum"})


def _wide(graph: Graph) -> list[Op]:
    """Ops that compute in fp32; a cast of an output at the very end does not."""
    outputs = set(graph.function.outputs)
    return [
        op
        for op in graph.ops
        if op.type != "const"
        and not op.type.startswith("constexpr_")
        and any(isinstance(v.type, TensorType) and v.type.dtype == "fp32" for v in op.outputs)
        and not (op.type == "cast" and all(v.name in outputs for v in op.outputs))
    ]
