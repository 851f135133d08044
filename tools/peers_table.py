"""The record of speeds beside peers, tools/results/peers_speed.json, and its tables in docs/performance.md.

Knows figures and how they are shown. Must not know how they are measured: tools/peers_speed.py does.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from lilims.bench.turns import Times, ratio
from lilims.core.files import write_atomic

RESULTS = Path(__file__).parent / "results" / "peers_speed.json"
MODELS = {"1.1b": "A random 1.1B Llama", "builtin": "The built-in model"}
ENGINES = {"lilims-kernels": "lilims, lilims-kernels", "lilims-exact": 'lilims, `precision="exact"`'}
OPTIONAL = ("note", "seconds", "stated")  # left out of the file where there is nothing
Figures = dict[str, dict[str, dict[str, Any]]]
"""Task → engine → `speed` (tokens/s; seconds of a start), `ratio` to the first engine's (median, lowest, highest)."""


@dataclass(frozen=True)
class Entry:
    """Engines in turns on one model's weights; the first engine is what the others are held against.

    Attributes:
        model: a key of MODELS; `kind` is the GGUF type of its weights.
        when: a day and a commit: the one that was measured, or, of stated figures, the one that wrote them down.
        note: what else a reader has to know, in half a line.
        machine: what `lilims.bench.machine` says, the peers' versions, and bytes a second that memory is read at.
        weights: bytes, by engine.
        seconds: of every round, unrounded. Empty where only `stated` figures are left.
        stated: figures of which no rounds were kept.
    """

    model: str
    kind: str
    engines: list[str]
    prompt: int
    depths: list[int]
    tokens: int
    rounds: int
    threads: int
    when: str
    machine: dict[str, Any]
    weights: dict[str, int]
    note: str = ""
    seconds: Times = field(default_factory=dict)
    stated: Figures = field(default_factory=dict)

    @property
    def work(self) -> tuple[object, ...]:
        """What was measured; with more rounds or tokens it is measured better, and is the same."""
        return self.model, self.kind, *self.engines, self.prompt, *self.depths, self.threads

    @property
    def command(self) -> str:
        """What measures it again."""
        what = f"--model {self.model} --types {self.kind} --engines {' '.join(self.engines)}"
        work = f"--prompt {self.prompt} --depths {' '.join(map(str, self.depths))} --tokens {self.tokens}"
        return f"hatch run peers:speed {what} {work} --rounds {self.rounds} --threads {self.threads}"

    def figures(self) -> Figures:
        """What is shown: medians over rounds, ratios within rounds."""
        found: Figures = {}
        for task, engines in self.seconds.items():
            for engine, seconds in engines.items():
                middle = statistics.median(seconds)
                figure: dict[str, Any] = {"speed": middle if task == "start" else 1 / middle}
                if engine != self.engines[0]:
                    figure["ratio"] = ratio(engines[self.engines[0]], seconds)
                found.setdefault(task, {})[engine] = figure
        return found or self.stated


def read() -> list[Entry]:
    """The recorded entries."""
    return [Entry(**entry) for entry in json.loads(RESULTS.read_text("utf-8"))]


def record(entry: Entry) -> None:
    """Writes an entry in the place of what was measured of the same work before; all others stay."""
    kept = {one.work: one for one in [*read(), entry]}
    found = [asdict(one) for one in kept.values()]
    filled = [{name: value for name, value in one.items() if value or name not in OPTIONAL} for one in found]
    write_atomic(RESULTS, (json.dumps(filled, indent=1, ensure_ascii=False) + "\n").encode())


def tables(entries: Iterable[Entry]) -> str:
    """A table for each model and engine that others are held against; below it, where each column is from."""
    ordered = sorted(entries, key=lambda one: (list(MODELS).index(one.model), one.engines[0]))
    groups = [list(group) for _, group in groupby(ordered, key=lambda one: (one.model, one.engines[0]))]
    return "\n".join(
        f"{MODELS[group[0].model]} beside {group[0].engines[0]}:\n\n{_table(group)}\n{''.join(map(_origin, group))}"
        for group in groups
    )


def table() -> str:
    """The record as the page has it."""
    return tables(read())


def _table(entries: Sequence[Entry]) -> str:
    shown = [entry.figures() for entry in entries]
    tasks = dict.fromkeys(task for figures in shown for task in figures)
    engines = dict.fromkeys(engine for entry in entries for engine in entry.engines)
    rows = [(task, name) for task in tasks for name in engines if any(name in one.get(task, {}) for one in shown)]
    first = dict(reversed(rows))
    labels = [_task(task) if first[task] == name else "" for task, name in rows]
    columns = [["", "---", *labels], ["engine", "---", *(ENGINES.get(name, name) for _, name in rows)]]
    for entry, figures in zip(entries, shown, strict=True):
        columns += _columns(entry, [(task, figures.get(task, {}).get(name, {})) for task, name in rows])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in zip(*columns, strict=True))


def _columns(entry: Entry, cells: list[tuple[str, dict[str, Any]]]) -> Iterator[list[str]]:
    """Speeds, where any is known, and ratios."""
    speeds = [_speed(task, figure["speed"]) if "speed" in figure else "" for task, figure in cells]
    if any(speeds):
        yield [entry.kind, "---:", *speeds]
    ratios = [_ratio(**figure["ratio"]) if "ratio" in figure else "" for _, figure in cells]
    yield [f"{entry.kind} against {entry.engines[0]}", "---:", *ratios]


def _task(task: str) -> str:
    if task == "start":
        return "process start to first token"
    what, _, count = task.rpartition(" ")
    return f"{what} {int(count):,}" if int(count) else f"{what} nothing"


def _speed(task: str, value: float) -> str:
    if task != "start":
        return f"{value:,.1f} tokens/s"
    return f"{value:.{1 if value >= 1 else 2}f} s"


def _ratio(median: float, lowest: float, highest: float) -> str:
    """Bold: faster in every round."""
    mark = "**" if lowest > 1 else ""
    return f"{mark}{median:.2f}{mark} ({lowest:.2f} to {highest:.2f})"


def _origin(entry: Entry) -> str:
    """The line below the table: when, how and where a column was measured."""
    of, weights = entry.machine, ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in entry.weights.items())
    parts = [
        entry.note,
        weights and f"weights: {weights}",
        f"{of['cores']} cores of {of['processor']}, {of['system']}",
        f"memory read at {of['read_bandwidth'] / 1e9:.1f} GB/s" if "read_bandwidth" in of else "",
        ", ".join(f"{name} {version}" for name, version in of["versions"].items()),
    ]
    return f"- {entry.kind}, {entry.when}: `{entry.command}`; {'; '.join(filter(None, parts))}.\n"
