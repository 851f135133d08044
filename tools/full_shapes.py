"""The record of converting real models' shapes, tools/results/full_shapes.json, and its table in docs/performance.md.

Knows figures and how they are shown. Must not know how they are measured: tools/convert_full_shapes.py does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from lilims.core.files import write_atomic

RESULTS = Path(__file__).parent / "results" / "full_shapes.json"
HEAD = """\
| model | family | parameters | scheme | seconds | for weights | processors | others | peak RSS | foretold | package |
|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|
"""


@dataclass(frozen=True)
class Row:
    """One conversion's figures.

    Attributes:
        seconds: of the process; `weights` of them for weights.
        busy: seconds of processors that it took; `others`: processors that other work kept busy, on average.
        peak: bytes resident at most; `said`: what `--dry-run` foretold.
        package: bytes.
        machine: where, with which versions.
    """

    name: str
    architecture: str
    parameters: int
    scheme: str
    seconds: float
    weights: float
    busy: float
    others: float
    peak: int
    said: int
    package: int
    machine: str

    def __str__(self) -> str:
        cells = [self.name, self.architecture, f"{self.parameters / 1e6:,.0f} M", self.scheme, f"{self.seconds:.1f}"]
        cells += [f"{self.weights:.1f}", f"{self.busy:.1f}", f"{self.others:.1f}"]
        cells += [f"{size / 1e6:,.0f} MB" for size in (self.peak, self.said, self.package)]
        return f"| {' | '.join(cells)} |\n"


def read() -> list[Row]:
    """The recorded rows, smallest model first."""
    return [Row(**row) for row in json.loads(RESULTS.read_text("utf-8"))]


def record(rows: Iterable[Row]) -> None:
    """Writes these rows; those of other models and schemes stay."""
    table = {(row.name, row.scheme): row for row in [*read(), *rows]}
    kept = sorted(table.values(), key=lambda row: (row.parameters, row.name, row.scheme))
    write_atomic(RESULTS, (json.dumps([asdict(row) for row in kept], indent=1) + "\n").encode())


def table() -> str:
    """The record as the page has it."""
    rows = read()
    machines = list(dict.fromkeys(row.machine for row in rows))
    return HEAD + "".join(map(str, rows)) + f"\nMeasured on {'; '.join(machines)}.\n"
