"""What became of each test of a conformance run: lines of JSON while it runs, a summary of classes to be committed.

Knows how tests are named. Must not know pytest, coremltools or the executor.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["CRASHED", "SUMMARY", "Counts", "Results", "by_class", "class_of", "read_summary"]

SUMMARY = Path(__file__).with_name("results.json")
CRASHED = "the interpreter crashed"


def class_of(test: str) -> str:
    """The opset and the class of a test, "iOS17/TestTopK"; the file stands for the class where there is none."""
    path, _, rest = test.split("[")[0].partition("::")
    folder, _, file = path.rpartition("/")
    return f"{folder.rpartition('/')[2]}/{rest.split('::')[0] if '::' in rest else Path(file).stem}"


@dataclass
class Counts:
    """Tests of one class that executed a program; `reasons` says how often each of the failures' texts came up."""

    passed: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: str, reason: str) -> None:
        self.passed += outcome == "passed"
        self.failed += outcome == "failed"
        if outcome == "failed":
            self.reasons[reason] = self.reasons.get(reason, 0) + 1


class Results:
    """Outcomes by test: "passed" and "failed" of those that executed a program, "not executed" of the others.

    Args:
        path: a file that each outcome is added to as a line, and whose lines are read first; None keeps none. A test
            that it says was started, and no more, has crashed.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.outcomes: dict[str, tuple[str, str]] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                found = json.loads(line)
                self.outcomes[found["test"]] = (found["outcome"], found.get("reason", ""))
        for test in [test for test, (outcome, _) in self.outcomes.items() if outcome == "started"]:
            self.add(test, "failed", CRASHED)
        self.known = frozenset(self.outcomes)

    def add(self, test: str, outcome: str, reason: str = "") -> None:
        self.outcomes[test] = (outcome, reason)
        if self.path is not None:
            record = {"test": test, "outcome": outcome} | ({"reason": reason} if reason else {})
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def by_class(results: Iterable[Results]) -> dict[str, Counts]:
    """The counts of each class; of a test that several results have, the last one's outcome counts."""
    outcomes = {test: outcome for result in results for test, outcome in result.outcomes.items()}
    counts: dict[str, Counts] = {}
    for test, (outcome, reason) in sorted(outcomes.items()):
        if outcome in ("passed", "failed"):
            counts.setdefault(class_of(test), Counts()).add(outcome, reason)
    return dict(sorted(counts.items()))


def read_summary(path: Path = SUMMARY) -> tuple[dict[str, Any], dict[str, Counts]]:
    """The versions that a committed summary was made with, and its classes."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return found["versions"], {name: Counts(**counts) for name, counts in found["classes"].items()}
