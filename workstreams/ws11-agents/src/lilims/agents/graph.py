"""The dependency graph of the tasks: as Graphviz text, and as a picture that needs no program.

An edge points from a task to one that waits for it. Columns of the picture are depths (a task stands right of all that
it depends on), bands are workstreams, colours and words are states. Knows tasks and states. Must not know git.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .spec import Task

__all__ = ["depths", "dot", "svg"]

COLOURS = {"ready": "#d3f2d8", "claimed": "#ffe9b8", "blocked": "#e6e6e6", "done": "#cfe3ff", "open": "#ffffff"}
WIDTH, HEIGHT, GAP_X, GAP_Y, BAND, MARGIN = 340, 46, 70, 12, 30, 16  # pixels
LETTERS = 44  # of a title: what fits a box in the widest of the usual sans-serif fonts


def dot(tasks: Mapping[str, Task], states: Mapping[str, str]) -> str:
    """Graphviz text: a cluster for each workstream."""
    lines = ["digraph tasks {", "  rankdir=LR;", '  node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    for workstream in sorted({task.workstream for task in tasks.values()}):
        lines += [f"  subgraph {_quoted('cluster_' + workstream)} {{", f"    label={_quoted(workstream)};"]
        for name in sorted(tasks):
            if tasks[name].workstream == workstream:
                label = f"{tasks[name].title}\n{name} · {states[name]}"
                colour = _quoted(COLOURS[states[name]])
                lines.append(f"    {_quoted(name)} [label={_quoted(label)}, fillcolor={colour}];")
        lines.append("  }")
    for name in sorted(tasks):
        lines += [f"  {_quoted(d)} -> {_quoted(name)};" for d in sorted(tasks[name].depends_on) if d in tasks]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def depths(tasks: Mapping[str, Task]) -> dict[str, int]:
    """Task → length of the longest chain of tasks before it. A cycle counts as cut where it is entered."""
    found: dict[str, int] = {}
    for start in tasks:
        stack = [start]
        open_: set[str] = set()
        while stack:
            name = stack[-1]
            before = [d for d in tasks[name].depends_on if d in tasks]
            waiting = [d for d in before if d not in found and d not in open_]
            open_.add(name)
            if waiting:
                stack += waiting
                continue
            found.setdefault(name, max((found.get(d, -1) + 1 for d in before), default=0))
            stack.pop()
    return found


def _places(tasks: Mapping[str, Task]) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]], int, int]:
    """Where each task's box and each workstream's band stand, and the picture's size."""
    depth = depths(tasks)
    boxes: dict[str, tuple[int, int]] = {}
    bands: dict[str, tuple[int, int]] = {}
    y = MARGIN + 28
    for workstream in sorted({task.workstream for task in tasks.values()}):
        columns: dict[int, int] = {}
        top = y + BAND
        for name in sorted((n for n in tasks if tasks[n].workstream == workstream), key=lambda n: (depth[n], n)):
            row = columns.get(depth[name], 0)
            columns[depth[name]] = row + 1
            boxes[name] = (2 * MARGIN + depth[name] * (WIDTH + GAP_X), top + row * (HEIGHT + GAP_Y))
        bottom = top + max(columns.values()) * (HEIGHT + GAP_Y)
        bands[workstream] = (y, bottom - y)
        y = bottom + GAP_Y
    width = 4 * MARGIN + (max(depth.values(), default=0) + 1) * (WIDTH + GAP_X) - GAP_X
    return boxes, bands, width, y + MARGIN


def svg(tasks: Mapping[str, Task], states: Mapping[str, str]) -> str:
    """The picture, as a complete SVG document."""
    boxes, bands, width, height = _places(tasks)
    counts = {state: sum(s == state for s in states.values()) for state in COLOURS if state in states.values()}
    summary = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no tasks"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' role="img" font-family="sans-serif" font-size="12">',
        f"<title>Tasks: {escape(summary)}</title>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#666"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 12}" font-size="14" font-weight="bold">Tasks: {escape(summary)}</text>',
    ]
    for workstream, (top, tall) in bands.items():
        out.append(f'<rect x="{MARGIN}" y="{top}" width="{width - 2 * MARGIN}" height="{tall}" rx="6" fill="#f6f7f9"/>')
        out.append(f'<text x="{MARGIN + 10}" y="{top + 19}" font-weight="bold" fill="#444">{escape(workstream)}</text>')
    for name in sorted(tasks):
        out += [_edge(boxes[d], boxes[name]) for d in sorted(tasks[name].depends_on) if d in boxes]
    for name, (x, y) in sorted(boxes.items()):
        out.append(_box(tasks[name], states[name], x, y))
    return "\n".join([*out, "</svg>"]) + "\n"


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH, start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    bend = GAP_X // 2
    path = f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
    return f'<path d="{path}" fill="none" stroke="#666" marker-end="url(#arrow)"/>'


def _box(task: Task, state: str, x: int, y: int) -> str:
    title = task.title if len(task.title) <= LETTERS else f"{task.title[: LETTERS - 1]}…"
    return (
        f"<g><title>{escape(task.title)}</title>"
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{COLOURS[state]}" stroke="#777"/>'
        f'<text x="{x + 8}" y="{y + 19}">{escape(title)}</text>'
        f'<text x="{x + 8}" y="{y + 36}" font-size="10" fill="#444">{escape(task.id)} · {state} · {task.size}</text>'
        "</g>"
    )


def as_json(tasks: Mapping[str, Task], states: Mapping[str, str]) -> dict[str, object]:
    """Nodes and edges, for programs."""
    nodes = [{"id": n, "workstream": t.workstream, "state": states[n], "title": t.title} for n, t in tasks.items()]
    edges = [[d, n] for n, t in tasks.items() for d in t.depends_on if d in tasks]
    return {"nodes": nodes, "edges": edges}
