"""Rules about compressed weights: constexpr ops, alone and nested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lilims.runtime.portable.program import Op, TensorType

from .rule import REPORTED, Hit, rule
from .subject import Graph, Subject

__all__ = ["activations"]


@rule(
    "L201",
    "warning",
    "nested constants",
    reason="a constexpr op that takes another one's result is legal to coremltools and unproven on devices",
    source="no published model was found that ships it; not reproduced here, where there is no such device",
    remedy="store the tensor in one constexpr op: another scheme, or values instead of a quantised scale",
)
def nested(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        found = [op for op in _constexprs(graph) if any(_is_constexpr(graph.makers.get(name)) for name in op.refs())]
        if found:
            yield Hit(f"{len(found)} of them, the first {found[0].type}", graph.function.name, found[0].name)


@rule(
    "L202",
    "error",
    "a constexpr's dtype unlike the activations'",
    reason="a weight that decompresses to another dtype than the activations is cast, all of it, in each call",
    source=REPORTED,
    remedy="give scales, offsets and tables the activations' dtype, fp16: the result takes theirs",
)
def unlike_activations(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        usual = activations(graph)
        odd = [(op, dtype) for op in _constexprs(graph) if (dtype := _float(op)) and usual and dtype != usual]
        if odd:
            op, dtype = odd[0]
            yield Hit(f"{len(odd)} give {dtype} in a function of {usual}", graph.function.name, op.name)


@rule(
    "L203",
    "warning",
    "weights in blocks on the Neural Engine",
    reason="scales per block are made for the GPU; the Neural Engine takes one scale or table for whole channels",
    source=REPORTED,
    remedy="convert with --profile ane, or --quantize int4-channel or lut4-r8",
    device="ane",
)
def blocks(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        found = [op for op in _constexprs(graph) if _blocked(graph, op)]
        if found:
            yield Hit(f"{len(found)} weights have scales per block", graph.function.name, found[0].name)


def activations(graph: Graph) -> str:
    """The float type that most results have, constants left out; empty where there is none."""
    counts = Counter(
        value.type.dtype
        for op in graph.ops
        if op.type != "const" and not _is_constexpr(op)
        for value in op.outputs
        if isinstance(value.type, TensorType) and value.type.is_float
    )
    return counts.most_common(1)[0][0] if counts else ""


def _constexprs(graph: Graph) -> list[Op]:
    return [op for op in graph.ops if _is_constexpr(op)]


def _is_constexpr(op: Op | None) -> bool:
    return op is not None and op.type.startswith("constexpr_")


def _float(op: Op) -> str:
    type_ = op.outputs[-1].type
    return type_.dtype if isinstance(type_, TensorType) and type_.is_float else ""


def _blocked(graph: Graph, op: Op) -> bool:
    """Whether scales differ along the last dimension, the one that is summed over."""
    scale = graph.literal(op, "scale") if op.type == "constexpr_blockwise_shift_scale" else None
    return scale is not None and scale.type.rank > 1 and (scale.type.shape[-1] or 1) > 1
