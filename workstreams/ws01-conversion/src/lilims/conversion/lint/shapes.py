"""Rules about flexible shapes."""

from __future__ import annotations

from collections.abc import Iterator

from lilims.runtime.portable.program import TensorType, Value

from .rule import REPORTED, Hit, rule
from .subject import Graph, Subject

__all__: list[str] = []


@rule(
    "L301",
    "error",
    "flexible shapes in a package of several functions",
    reason="a multifunction package with RangeDim inputs does not load",
    source=REPORTED,
    remedy="give each function fixed shapes: one function for each number of tokens",
)
def multifunction(subject: Subject) -> Iterator[Hit]:
    if len(subject.graphs) > 1:
        for graph in subject.graphs:
            yield from _hits(graph, f"flexible, in a package of {len(subject.graphs)} functions")


@rule(
    "L302",
    "warning",
    "flexible shapes beside a state",
    reason="Core ML ends the process where a stateful model mixes fixed and flexible inputs",
    source="https://github.com/apple/coremltools/issues/2548",
    remedy="give every input of a stateful function a fixed shape",
)
def beside_state(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        if graph.states:
            yield from _hits(graph, "flexible, in a function with a state")


@rule(
    "L303",
    "warning",
    "flexible shapes on the Neural Engine",
    reason="the Neural Engine runs graphs whose shapes are all fixed when they are compiled",
    source=REPORTED,
    remedy="give every input a fixed shape, or a few enumerated ones",
    device="ane",
)
def on_the_engine(subject: Subject) -> Iterator[Hit]:
    for graph in subject.graphs:
        yield from _hits(graph, "flexible")


def _hits(graph: Graph, what: str) -> Iterator[Hit]:
    inputs = [value for value in graph.function.inputs if _flexible(value)]
    if inputs:
        names = ", ".join(value.name for value in inputs[:4]) + (", …" if len(inputs) > 4 else "")
        yield Hit(f"{names}: {what}", graph.function.name, inputs[0].name)


def _flexible(value: Value) -> bool:
    return isinstance(value.type, TensorType) and None in value.type.shape
