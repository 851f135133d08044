"""Figures of many generations: what `lilims telemetry show` says of each model.

Knows records. Must not know how figures are drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .kept import OPERATIONS
from .store import Record

__all__ = ["FIRST", "SPEED", "ModelFigures", "errors", "model_figures"]

SPEED, FIRST = "lilims.decode.tokens_per_second", "gen_ai.response.time_to_first_chunk"


@dataclass(frozen=True)
class ModelFigures:
    """A model on an executor: how often it was used, medians, sums.

    Attributes:
        model: the hash of kept.py; empty where it was not told.
        speed: median tokens/s after the first token; None if no generation had two tokens.
        first_token: median seconds to the first token.
        memory: the most bytes that a process held.
    """

    model: str
    executor: str
    generations: int
    input_tokens: int
    output_tokens: int
    speed: float | None
    first_token: float | None
    memory: int | None
    failed: int


def model_figures(records: Iterable[Record]) -> list[ModelFigures]:
    """Figures of every model and executor, the most used first."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.name in OPERATIONS:
            found = record.attributes
            key = found.get("gen_ai.request.model", ""), found.get("lilims.executor", "")
            groups.setdefault(key, []).append(record)
    made = [_figures(*key, of) for key, of in groups.items()]
    return sorted(made, key=lambda one: -one.generations)


def errors(records: Iterable[Record]) -> list[tuple[str, int]]:
    """Classes of errors and how often each came, the most frequent first; a lost executor is one.

    A generation that fails also fails its command: of the two only the command's error counts.
    """
    found = Counter(
        record.attributes.get("error.type", record.name)
        for record in records
        if record.name in ("command.failed", "executor.lost", "executor.fallback")
        or (record.name == "generate.failed" and "lilims.command" not in record.attributes)
    )
    return found.most_common()


def _figures(model: str, executor: str, records: Sequence[Record]) -> ModelFigures:
    def of(name: str) -> list[Any]:
        return [record.attributes[name] for record in records if record.attributes.get(name)]

    speeds, firsts, memory = of(SPEED), of(FIRST), of("lilims.memory.peak")
    return ModelFigures(
        model=model,
        executor=executor,
        generations=len(records),
        input_tokens=sum(of("gen_ai.usage.input_tokens")),
        output_tokens=sum(of("gen_ai.usage.output_tokens")),
        speed=median(speeds) if speeds else None,
        first_token=median(firsts) if firsts else None,
        memory=max(memory) if memory else None,
        failed=sum(record.name == "generate.failed" for record in records),
    )
