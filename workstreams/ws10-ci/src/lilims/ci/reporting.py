"""The comment on a pull request: tests, sizes, perplexity and speed, against what it is based on.

Knows what is worth a mark, and the comment's order. Must not read files nor talk to a host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lilims.core.console import bytes_text

from .figures import Figures
from .markdown import bounded, code, table

__all__ = ["LONGEST", "MARKER", "Report", "make_report"]

MARKER = "<!-- lilims-ci-report -->"
"""The first line of the comment: by it the next report finds and replaces this one."""
LONGEST = 60_000
"""Characters of a comment. GitHub takes 65,536."""

_LARGER = 0.02  # share by which a file may grow before it is marked …
_LARGER_BYTES = 20_000  # … and bytes: a page more in a small wheel is none of anybody's concern
_PERPLEXITY = 0.002  # share by which a package's perplexity may rise over the base's before it is marked
_ROWS = 60
_MARK, _BAD, _GOOD = "⚠️", "❌", "✅"


@dataclass(frozen=True)
class Report:
    """The comment, and whether anything in it is marked as failed or as over a threshold."""

    body: str
    failed: tuple[str, ...]
    marked: tuple[str, ...]


class _Marks:
    """Collects what is failed and what is marked, while the tables are made."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.marked: list[str] = []

    def fail(self, what: str) -> str:
        self.failed.append(what)
        return f" {_BAD}"

    def mark(self, what: str) -> str:
        self.marked.append(what)
        return f" {_MARK}"


def make_report(head: Figures, base: Figures | None, *, title: str = "") -> Report:
    """The report on what `head` measured, against `base` where that is known.

    Args:
        title: what was measured, as a commit's id; shown as it is.
    """
    marks = _Marks()
    base = base or Figures()
    made = [
        _tests(head, marks),
        _sizes(head, base, marks),
        _quality(head, base, marks),
        _speed(head, marks),
        _unreadable(head, base),
        _failures(head),
    ]
    sections = [[*section] for section in made]  # all marks are known now
    verdict = (
        _verdict(head, marks),
        f"{_MARK} {len(marks.marked)} over a threshold" if marks.marked else "",
    )
    first = f"### CI: {', '.join(filter(None, verdict))}" + (f" · {code(title, 60)}" if title else "")
    body = bounded(
        [MARKER, first, *(block for section in sections for block in section)], LONGEST, "_The rest did not fit._"
    )
    return Report(body, tuple(marks.failed), tuple(marks.marked))


def _verdict(head: Figures, marks: _Marks) -> str:
    if marks.failed:
        return f"{_BAD} {len(marks.failed)} failed"
    if not (head.suites or head.sizes or head.quality or head.speed):
        return "no figures"
    return f"{_GOOD} nothing failed"


def _more(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows, and one that says how many are left out."""
    left = len(rows) - _ROWS
    return [*rows] if left <= 0 else [*rows[:_ROWS], (f"… {left} more", *[""] * (len(rows[0]) - 1))]


def _tests(head: Figures, marks: _Marks) -> Iterator[str]:
    yield "#### Tests"
    if not head.suites:
        yield "No test results."
        return
    rows = []
    for one in head.suites:
        failed = f"{one.failed}" + (marks.fail(f"tests: {one.name}") if one.failed else "")
        rows.append((code(one.name), str(one.passed), failed, str(one.skipped), f"{one.seconds:.0f} s"))
    yield table(("", "passed", "failed", "skipped", "time"), _more(rows))


def _sizes(head: Figures, base: Figures, marks: _Marks) -> Iterator[str]:
    yield "#### Sizes"
    if not head.sizes:
        yield "Not measured."
        return
    rows = []
    for name, size in sorted(head.sizes.items()):
        old = base.sizes.get(name)
        change = "new" if base.sizes else ""
        if old:
            share = size / old - 1
            change = f"{share:+.1%}" + (
                marks.mark(f"size: {name}") if share > _LARGER and size - old > _LARGER_BYTES else ""
            )
        rows.append((code(name), "" if old is None else bytes_text(old), bytes_text(size), change))
    gone = [(code(name), bytes_text(old), "", "gone") for name, old in base.sizes.items() if name not in head.sizes]
    yield table(("", "base", "now", "change"), _more(rows + gone))
    yield f"Marked: more than {_LARGER:.0%} and {bytes_text(_LARGER_BYTES)} larger."


def _quality(head: Figures, base: Figures, marks: _Marks) -> Iterator[str]:
    yield "#### Perplexity of packages"
    if not head.quality:
        yield "Not measured."
        return
    rows = []
    for (model, scheme), one in sorted(head.quality.items()):
        old = base.quality.get((model, scheme))
        change = "" if old is None else f"{one.perplexity / old.perplexity - 1:+.2%}"
        if old and one.perplexity / old.perplexity - 1 > _PERPLEXITY:
            change += marks.mark(f"perplexity: {model} {scheme}")
        lost = "" if one.change is None else f"{one.change:+.2%}"
        bar = "" if one.bar is None else f"{one.bar:.1%}"
        bar += "" if one.passed else marks.fail(f"quality gate: {model} {scheme}")
        before = "" if old is None else f"{old.perplexity:.4f}"
        rows.append((code(f"{model} {scheme}"), before, f"{one.perplexity:.4f}", change, lost, bar))
    yield table(("", "base", "now", "change", "against fp16", "bar"), _more(rows))
    yield f"Failed: over the bar. Marked: more than {_PERPLEXITY:.1%} above the base."


def _speed(head: Figures, marks: _Marks) -> Iterator[str]:
    yield "#### Speed and memory"
    if not head.speed:
        yield "Not measured."
        return
    rows = []
    for one in head.speed:
        change = f"{one.worse:.2f} ×" + (marks.mark(f"speed: {one.model}, {one.metric}") if one.regressed else "")
        show = bytes_text if one.metric == "peak RSS" else "{:.4g}".format
        rows.append((f"{code(one.model)} {code(one.metric)}", show(one.baseline), show(one.candidate), change))
    yield table(("", "base", "now", "times worse"), _more(rows))
    yield "Measured on one machine, one after the other. Marked: worse beyond noise, by `lilims bench gate`."


def _failures(head: Figures) -> Iterator[str]:
    """Last, as they may be long."""
    for one in head.suites:
        if one.bad:
            names = [f"- {code(name, 300)}" for name in one.bad[:_ROWS]]
            more = [f"- … {one.failed - len(names)} more"] if one.failed > len(names) else []
            summary = f"<details><summary>{one.failed} failed in one file of results</summary>"
            yield "\n".join([summary, "", code(one.name), "", *names, *more, "", "</details>"])


def _unreadable(head: Figures, base: Figures) -> Iterator[str]:
    rows = [f"- {code(name)}: {code(why)}" for name, why in [*head.unreadable, *base.unreadable]]
    if rows:
        yield "#### Not read"
        yield "\n".join(rows[:_ROWS])


def write_report(report: Report, path: Path) -> None:
    """Writes the comment to a file, as a whole."""
    from lilims.core.files import write_atomic

    write_atomic(path, report.body.encode("utf-8"))
