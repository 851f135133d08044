"""The graph: Graphviz text and a picture, whatever stands in titles."""

from __future__ import annotations

from xml.etree import ElementTree

from lilims.agents.graph import HEIGHT, WIDTH, _places, depths, dot, svg
from lilims.agents.spec import Task, parse_task

from .conftest import spec

EVIL = 'Quote " and \\ and <b> & ]]> {x|y}'
DEPENDS = {"a-2a2a": [], "b-2a2a": ["a-2a2a"], "c-2a2a": ["a-2a2a", "b-2a2a"], "d-2a2a": ["c-2a2a", "gone-2a2a"]}


def tasks() -> dict[str, Task]:
    found = {}
    for n, (name, depends) in enumerate(DEPENDS.items()):
        workstream = f"ws0{n % 2}-part"
        task, _document, findings = parse_task(
            spec(name, depends_on=depends, title=EVIL, workstream=workstream).encode(), "x"
        )
        assert task is not None, findings
        found[name] = task
    return found


STATES = {"a-2a2a": "done", "b-2a2a": "claimed", "c-2a2a": "ready", "d-2a2a": "blocked"}


def test_depths() -> None:
    assert depths(tasks()) == {"a-2a2a": 0, "b-2a2a": 1, "c-2a2a": 2, "d-2a2a": 3}
    ring = tasks()
    ring["a-2a2a"] = ring["a-2a2a"].model_copy(update={"depends_on": ["c-2a2a"]})
    assert set(depths(ring)) == set(ring), "a cycle ends"


def test_dot() -> None:
    text = dot(tasks(), STATES)
    assert 'label="Quote \\" and \\\\ and <b> & ]]> {x|y}\\na-2a2a · done"' in text
    edges = [line.strip() for line in text.splitlines() if "->" in line]
    assert edges == [
        '"a-2a2a" -> "b-2a2a";', '"a-2a2a" -> "c-2a2a";', '"b-2a2a" -> "c-2a2a";', '"c-2a2a" -> "d-2a2a";',
    ]  # fmt: skip
    assert text.count("subgraph") == 2 and text.count("{") == text.count("}")


def test_svg() -> None:
    root = ElementTree.fromstring(svg(tasks(), STATES))
    space = "{http://www.w3.org/2000/svg}"
    words = [element.text or "" for element in root.iter(f"{space}text")]
    assert words[0] == "Tasks: 1 ready, 1 claimed, 1 blocked, 1 done"
    assert {"ws00-part", "ws01-part"} <= set(words)
    assert len([p for p in root.iter(f"{space}path") if p.get("marker-end")]) == 4
    assert [t.text for t in root.iter(f"{space}title")].count(EVIL) == 4


def test_no_two_boxes_meet_and_edges_go_right() -> None:
    boxes, bands, width, height = _places(tasks())
    spots = list(boxes.values())
    assert len(set(spots)) == len(spots)
    for n, (x, y) in enumerate(spots):
        assert x >= 0 and x + WIDTH <= width and y >= 0 and y + HEIGHT <= height
        assert all(abs(x - u) >= WIDTH or abs(y - v) >= HEIGHT for u, v in spots[n + 1 :])
    assert all(boxes[d][0] < boxes[n][0] for n, ds in DEPENDS.items() for d in ds if d in boxes)
    assert len(bands) == 2


def test_nothing_to_draw() -> None:
    assert "no tasks" in svg({}, {})
    assert dot({}, {}).startswith("digraph")
