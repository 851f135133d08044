"""Rules about versions: what a version of coremltools made, and a version of the system runs badly."""

from __future__ import annotations

from collections.abc import Iterator

from lilims.runtime.portable.program import Op

from .rule import REPORTED, Hit, rule
from .subject import Graph, Subject

__all__: list[str] = []

_BATCH = 10


@rule(
    "L601",
    "warning",
    "4-bit tables and a state, made by coremltools 9.0",
    reason="such a package crashes on the Neural Engine after 100 to 200 predictions; made by 8.3 it does not",
    source="https://github.com/apple/coremltools/issues/2716",
    remedy="try it on the device for some hundred tokens; else int4-channel, or --profile gpu",
    device="ane",
)
def tables_and_state(subject: Subject) -> Iterator[Hit]:
    if subject.coremltools.split(".")[:2] != ["9", "0"]:
        return
    for graph in subject.graphs:
        tables = [op for op in graph.ops if op.type == "constexpr_lut_to_dense" and _dtype(graph, op) == "uint4"]
        if tables and graph.states:
            yield Hit(f"{len(tables)} tables of 16, coremltools {subject.coremltools}", graph.function.name)


@rule(
    "L602",
    "warning",
    "the attention op on the Neural Engine of iOS 26",
    reason="scaled_dot_product_attention is miscomputed by the Neural Engine of iOS 26 and macOS 26",
    source=REPORTED,
    remedy="convert with --attention decomposed where those systems and the Neural Engine are the target",
    device="ane",
)
def attention_op(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        found = [op for op in graph.ops if op.type == "scaled_dot_product_attention"]
        if found:
            yield Hit(f"{len(found)} of them", graph.function.name, found[0].name)


@rule(
    "L603",
    "warning",
    "decomposed attention of a batch of 10 or more on the GPU of macOS 26.2",
    reason="the GPU's compiler fuses matmul, add, softmax, matmul into a kernel that is wrong from a batch of 10 on",
    source="https://github.com/apple/coremltools/issues/2650",
    remedy="keep the batch below 10, or use scaled_dot_product_attention",
    device="gpu",
)
def large_batch(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        for op in graph.ops:
            shares = graph.tensor(op.outputs[0].name) if op.type == "softmax" else None
            batch = shares.shape[0] or 0 if shares is not None and shares.rank > 2 else 0
            if batch >= _BATCH and _is_attention(graph, op):
                yield Hit(f"a batch of {batch}", graph.function.name, op.name)
                break


def _is_attention(graph: Graph, softmax: Op) -> bool:
    """matmul → add → softmax → matmul."""
    scores = graph.makers.get(graph.ref(softmax, "x"))
    if scores is None or scores.type != "add":
        return False
    before = {maker.type for key in ("x", "y") if (maker := graph.makers.get(graph.ref(scores, key)))}
    after = {taker.type for taker in graph.takers.get(softmax.outputs[0].name, [])}
    return "matmul" in before and "matmul" in after


def _dtype(graph: Graph, op: Op) -> str:
    indices = graph.literal(op, "indices")
    return indices.type.dtype if indices is not None else ""
