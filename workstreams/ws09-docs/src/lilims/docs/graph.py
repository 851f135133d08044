"""A drawing as data, and as Graphviz text.

Knows nodes, edges and boxes around nodes. Must not know what is drawn, nor how it is rendered (svg.py). Colours are no
matter of the text: a node or an edge has a kind, which becomes its class in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Edge", "Graph", "Node", "dot"]


@dataclass(frozen=True)
class Node:
    """A box. `label` may have several lines; `kind` is its class in the picture."""

    name: str
    label: str
    kind: str = "plain"


@dataclass(frozen=True)
class Edge:
    """An arrow from `tail` to `head`, both names of nodes."""

    tail: str
    head: str
    label: str = ""
    kind: str = "plain"


@dataclass
class Graph:
    """A directed graph.

    Attributes:
        title: what it shows, for those who hear it instead.
        direction: TB (downwards), BT or LR.
        boxes: titles of boxes and the names of the nodes within.
    """

    title: str
    direction: str = "TB"
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    boxes: dict[str, list[str]] = field(default_factory=dict)


def dot(graph: Graph) -> str:
    """Graphviz text of a graph, the same for the same graph.

    Raises:
        ValueError: an edge or a box names a node that is not there.
    """
    known = {node.name for node in graph.nodes}
    named = {name for edge in graph.edges for name in (edge.tail, edge.head)}
    named |= {name for names in graph.boxes.values() for name in names}
    if unknown := sorted(named - known):
        raise ValueError(f"no nodes of these names: {', '.join(unknown)}")
    lines = [
        f"digraph {_quoted(graph.title)} {{",
        f'  rankdir={graph.direction}; bgcolor=transparent; nodesep=0.25; ranksep=0.4; fontname="sans-serif";',
        '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11, margin="0.15,0.07"];',
        '  edge [fontname="sans-serif", fontsize=9, arrowsize=0.7];',
    ]
    lines += [f"  {_node(node)}" for node in graph.nodes]
    for number, (title, names) in enumerate(graph.boxes.items()):
        inside = " ".join(f"{_quoted(name)};" for name in names)
        lines.append(f'  subgraph cluster_{number} {{ label={_quoted(title)}; class="box"; style=rounded; {inside} }}')
    lines += [f"  {_edge(edge)}" for edge in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _node(node: Node) -> str:
    return f'{_quoted(node.name)} [label={_quoted(node.label)}, class="{node.kind}"];'


def _edge(edge: Edge) -> str:
    label = f", label={_quoted(edge.label)}" if edge.label else ""
    return f'{_quoted(edge.tail)} -> {_quoted(edge.head)} [class="{edge.kind}"{label}];'


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
