"""Pictures of graphs: Graphviz text as SVG that looks right in light and in dark, and knows what it was made of.

Knows the program `dot` and the classes of graph.py. Must not know what is drawn. Pictures are kept beside their text,
so that nobody needs Graphviz to build the site: `is_current` compares the hash of the text that a picture carries.
"""

from __future__ import annotations

import hashlib
import re
from html import escape

__all__ = ["is_current", "render"]

TIMEOUT = 60  # seconds
# Variables, so that a page may choose the colours too; by itself the picture follows the system.
_LIGHT = {
    "ink": "#1f2933", "line": "#64748b", "plain": "#f1f5f9", "main": "#dbeafe", "file": "#fef3c7", "weight": "#ede9fe",
    "state": "#dcfce7", "io": "#fee2e2",
}  # fmt: skip
_DARK = {
    "ink": "#e5e9f0", "line": "#94a3b8", "plain": "#29313d", "main": "#1e3a5f", "file": "#4a3a12", "weight": "#3b2f5c",
    "state": "#16412a", "io": "#552323",
}  # fmt: skip


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--dia-{name}:{value};" for name, value in colours.items())


def stylesheet(light: str, dark: str) -> str:
    """The two sets of colours, for the selectors given."""
    return f"{light}{{{_variables(_LIGHT)}}}\n{dark}{{{_variables(_DARK)}}}\n"


def _style() -> str:
    kinds = "".join(
        f".dia .node.{kind} path,.dia .node.{kind} polygon{{fill:var(--dia-{kind})}}"
        for kind in _LIGHT
        if kind not in ("ink", "line")
    )
    return (
        f":root{{{_variables(_LIGHT)}}}\n@media (prefers-color-scheme:dark){{:root{{{_variables(_DARK)}}}}}\n"
        ".dia text{fill:var(--dia-ink)}.dia .node path,.dia .node polygon,.dia .edge path,.dia .cluster path"
        "{stroke:var(--dia-line)}.dia .edge polygon{fill:var(--dia-line);stroke:var(--dia-line)}"
        ".dia .cluster path,.dia .cluster polygon{fill:none;stroke-dasharray:4 3}" + kinds
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def is_current(picture: str, text: str) -> bool:
    """Whether a picture was made of this Graphviz text."""
    return f"dot sha256 {_digest(text)}" in picture


def render(text: str, title: str) -> str:
    """Graphviz text as a picture.

    Args:
        title: what it shows, for those who hear it instead.

    Raises:
        MissingDependencyError: there is no program `dot`.
        InputError: `dot` refuses the text, or takes more than a minute.
    """
    import shutil
    import subprocess

    from lilims.core.errors import InputError, MissingDependencyError

    program = shutil.which("dot")
    if program is None:
        raise MissingDependencyError("Graphviz is not installed: no program dot", hint="apt-get install graphviz")
    try:
        done = subprocess.run(
            [program, "-Tsvg"], input=text.encode(), capture_output=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"dot took more than {TIMEOUT} seconds", where=title) from error
    if done.returncode:
        raise InputError(f"dot refuses it: {done.stderr.decode('utf-8', 'replace').strip()[:200]}", where=title)
    return _themed(done.stdout.decode("utf-8"), text, title)


def _themed(svg: str, text: str, title: str) -> str:
    """Classes instead of colours, a title, no size in points: the picture is as large as its text is legible."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<!--.*?-->\n?", "", body, flags=re.S)
    body = re.sub(r' (fill|stroke)="(?!none)[^"]*"', "", body)
    body = re.sub(r' font-family="[^"]*"', "", body)
    body = re.sub(r' id="[^"]*"', "", body)
    body = re.sub(r"<title>[^<]*</title>\n?", "", body)  # of nodes: their names, which are nobody's business
    size = re.search(r'width="(\d+)pt" height="(\d+)pt"', body)
    assert size is not None
    body = body.replace(
        size[0], f'width="{size[1]}" height="{size[2]}" role="img" class="dia" font-family="sans-serif"', 1
    )
    head, rest = body.split(">\n", 1)
    top = f"<!-- dot sha256 {_digest(text)} -->\n<title>{escape(title)}</title>\n<style>{_style()}</style>"
    return f"{head}>\n{top}\n{rest}"
