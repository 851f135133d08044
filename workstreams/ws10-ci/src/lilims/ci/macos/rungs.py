"""What a question is, what it is asked of, and what became of it.

Knows words alone. Must not know a probe, a process, nor import anything heavy: tables of rungs are read by `--list`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["OUTCOMES", "UNITS", "ExecutorName", "Finding", "Outcome", "Result", "Rung", "Target"]

ExecutorName = Literal["coreml", "portable"]
Outcome = Literal["passed", "differs", "refused", "crashed", "hung"]
UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")

OUTCOMES: dict[Outcome, str] = {
    "passed": "it computes what it should",
    "differs": "it runs and computes something else",
    "refused": "an error was raised: it does not compile, load or predict",
    "crashed": "the process ended by a signal, or without an answer",
    "hung": "the process was stopped at its time limit",
}


@dataclass(frozen=True)
class Rung:
    """One question.

    Attributes:
        name: what `--only` takes.
        shows: what holds where it passes, half a sentence.
        otherwise: what lilims does, or would have to do, where it does not.
        home: `module:function`; the function takes a `Target` and returns a `Finding`.
    """

    name: str
    shows: str
    otherwise: str
    home: str


@dataclass(frozen=True)
class Target:
    """Who is asked, and where there is room to work.

    Attributes:
        executor: coreml, or portable, which stands in for it.
        compute_units: of Core ML.
        work: a folder for this rung alone.
        shared: a folder that all rungs of a climb share: models that were converted once.
    """

    executor: ExecutorName
    compute_units: str
    work: Path
    shared: Path


@dataclass(frozen=True)
class Finding:
    """What a function found that came to its end.

    Attributes:
        passed: whether it is as it should be.
        what: what was seen, half a sentence.
        figures: numbers by name, for the report.
    """

    passed: bool
    what: str
    figures: dict[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What became of a rung.

    Attributes:
        detail: the finding's words, the error's, or how the process ended.
        output: the last of what the process printed; empty where it passed.
    """

    name: str
    outcome: Outcome
    detail: str
    seconds: float
    figures: dict[str, float | int] = field(default_factory=dict)
    output: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)
