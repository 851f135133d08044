"""Graphs as text, and as pictures."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET

import pytest

from lilims.core.errors import InputError, MissingDependencyError
from lilims.docs import Edge, Graph, Node, dot, render
from lilims.docs.svg import is_current

GRAPH = Graph(
    "A & B",
    direction="LR",
    nodes=[Node("a", 'says "a"\nin two lines', "main"), Node("b", "back\\slash")],
    edges=[Edge("a", "b", "then")],
    boxes={"both": ["a", "b"]},
)


def test_the_text_says_all_and_quotes_it() -> None:
    text = dot(GRAPH)
    assert text.startswith('digraph "A & B" {\n  rankdir=LR;')
    assert '"a" [label="says \\"a\\"\\nin two lines", class="main"];' in text
    assert '"b" [label="back\\\\slash", class="plain"];' in text
    assert '"a" -> "b" [class="plain", label="then"];' in text
    assert 'subgraph cluster_0 { label="both"; class="box"; style=rounded; "a"; "b"; }' in text


@pytest.mark.parametrize("change", [{"edges": [Edge("a", "c")]}, {"boxes": {"x": ["c"]}}], ids=["an edge", "a box"])
def test_a_name_that_is_not_there(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no nodes of these names: c"):
        dot(Graph("g", nodes=[Node("a", "a")], **change))  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_the_picture() -> None:
    """Well-formed, with its title and colours by class; it knows its text."""
    picture = render(dot(GRAPH), GRAPH.title)
    root = ET.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img" and [t.text for t in root.iter(f"{space}title")] == ["A & B"]
    classes = {g.get("class") for g in root.iter(f"{space}g")}
    assert {"node main", "node plain", "edge plain", "cluster box"} <= classes
    fills = {e.get("fill") for e in root.iter()} | {e.get("stroke") for e in root.iter()}
    assert fills <= {None, "none"}
    assert not [e for e in root.iter() if e.get("id")]
    assert is_current(picture, dot(GRAPH)) and not is_current(picture, dot(GRAPH) + " ")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_a_text_that_is_none() -> None:
    with pytest.raises(InputError, match="g: dot refuses it: "):
        render("digraph {", "g")


def test_without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="no program dot"):
        render(dot(GRAPH), "g")
