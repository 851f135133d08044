"""The record of ten contexts, tools/results/long_context.json, and its table in docs/long-context.md.

Knows figures and how they are shown. Must not know how they are measured: tools/long_context.py does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from lilims.core.files import write_atomic

RESULTS = Path(__file__).parent / "results" / "long_context.json"
HEAD = """\
| model | policy | tokens | perplexity | in windows | | generated, in windows |
|---|---|---:|---:|---:|---:|---:|
"""


@dataclass(frozen=True)
class Row:
    """One policy on one model: perplexities over a stream, unrounded.

    Attributes:
        context: tokens of a window; `tokens`: of the stream.
        text: over the stream; `text_in_window`: in windows that know nothing of each other.
        generated_in_window: in such windows, of what the policy generated.
        versions: what it was measured with.
    """

    model: str
    policy: str
    context: int
    tokens: int
    text: float
    text_in_window: float
    generated_in_window: float
    versions: str

    @property
    def ratio(self) -> float:
        """Perplexity over the stream against that in windows."""
        return self.text / self.text_in_window

    def __str__(self) -> str:
        change = f"{self.ratio - 1:+.1%}"
        cells = [self.model, self.policy, f"{self.tokens}", f"{self.text:.2f}", f"{self.text_in_window:.2f}", change]
        return f"| {' | '.join(cells)} | {self.generated_in_window:.2f} |\n"


def read() -> list[Row]:
    """The recorded rows."""
    return [Row(**row) for row in json.loads(RESULTS.read_text("utf-8"))]


def record(rows: Iterable[Row]) -> None:
    """Writes these rows; those of other models, policies and lengths stay."""
    table = {(row.model, row.policy, row.tokens): row for row in [*read(), *rows]}
    write_atomic(RESULTS, (json.dumps([asdict(row) for row in table.values()], indent=1) + "\n").encode())


def table() -> str:
    """The record as the page has it."""
    rows = read()
    measured = "; ".join(dict.fromkeys(row.versions for row in rows))
    return HEAD + "".join(map(str, rows)) + f"\nMeasured with {measured}.\n"
