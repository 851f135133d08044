"""Text from outside in GitHub's Markdown: shown as it is, meaning nothing.

Knows what GitHub gives a meaning to: HTML, links, mentions, references, tables, code. Must not know reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["bounded", "code", "table"]


def code(text: str, longest: int = 160) -> str:
    """Hostile text as one code span that ends neither early nor a table's cell; shortened in the middle.

    Within a code span GitHub makes no links, mentions or references of anything. A bar would end a cell even there.
    """
    if len(text) > 4 * longest:
        text = f"{text[: 2 * longest]} … {text[-2 * longest :]}"
    flat = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    flat = flat.replace("`", "'").replace("|", "¦").strip()
    if len(flat) > longest:
        flat = f"{flat[: longest // 2]} … {flat[-longest // 2 :]}"
    return f"`{flat or ' '}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is left-aligned and whose others are right-aligned. Cells are Markdown already."""
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(['---', *['---:'] * (len(head) - 1)])}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def bounded(lines: Iterable[str], most: int, note: str) -> str:
    """Blocks with blank lines between, as many whole ones as fit into `most` characters; a note if any does not."""
    kept: list[str] = []
    room = most - len(note) - 2
    for block in lines:
        if len(block) + 2 > room:
            return "\n\n".join([*kept, note]) + "\n"
        kept.append(block)
        room -= len(block) + 2
    return "\n\n".join(kept) + "\n"
