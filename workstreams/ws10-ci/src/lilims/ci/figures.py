"""Figures of one run of CI, from the files that its jobs left: tests, sizes, perplexity, speed.

    *.xml       JUnit's form, as pytest writes it
    *.json      objects whose `kind` is `sizes` (tools/ci/sizes.py), `quality` (tools/ci/quality_gate.py) or `gate`
                (`lilims bench gate`); others are left alone

Knows these forms. Must not know how a report looks. The files are hostile: a pull request can put anything in them.
They are bounded in size and number, values of a wrong type are left out, and what cannot be read is named, not raised.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lilims.core.files import read_bytes, read_json

from .errors import ReportError

__all__ = ["Figures", "Quality", "Speed", "Suite", "read_figures"]

_FILES, _XML, _JSON, _ROWS = 200, 64 << 20, 4 << 20, 200  # most files, bytes of each, rows of a table


@dataclass(frozen=True)
class Suite:
    """One file of test results. `bad` are names of tests that failed or broke, at most `_ROWS` of them."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    bad: tuple[str, ...]


@dataclass(frozen=True)
class Quality:
    """Perplexity of one package; `change` is relative to fp16, `bar` the most it may be."""

    perplexity: float
    change: float | None
    bar: float | None
    passed: bool


@dataclass(frozen=True)
class Speed:
    """One figure of a model against the base, as `lilims bench gate` judges it; `worse` 1.1 is ten per cent."""

    model: str
    metric: str
    baseline: float
    candidate: float
    worse: float
    regressed: bool


@dataclass
class Figures:
    """What a run measured. `unreadable` names files that are not what they should be, with the reason."""

    suites: list[Suite] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    quality: dict[tuple[str, str], Quality] = field(default_factory=dict)
    speed: list[Speed] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def read_figures(folder: Path) -> Figures:
    """The figures of all files below a folder, those of links left out.

    Raises:
        ReportError: there is no such folder.
    """
    if not folder.is_dir():
        raise ReportError("no such folder", where=folder, hint="name the folder with the artefacts of a run")
    found = Figures()
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".xml", ".json") and p.is_file() and not p.is_symlink())
    for path in paths[:_FILES]:
        name = path.relative_to(folder).as_posix()
        try:
            if path.suffix == ".xml":
                found.suites.append(_suite(path, name.removesuffix(".xml")))
            else:
                _take(found, read_json(path, limit=_JSON, error=ReportError))
        except ReportError as error:
            found.unreadable.append((name, error.message))
    if len(paths) > _FILES:
        found.unreadable.append((f"{len(paths) - _FILES} files more", f"only {_FILES} are read"))
    return found


def _suite(path: Path, name: str) -> Suite:
    raw = read_bytes(path, limit=_XML, error=ReportError)
    if re.search(rb"<!\s*(DOCTYPE|ENTITY)", raw) or b"\0" in raw:  # pytest writes UTF-8 and declares no entities
        raise ReportError("declares entities, or is not UTF-8: not read", where=path)
    try:
        root = ElementTree.fromstring(raw)
    except (ElementTree.ParseError, ValueError, RecursionError) as exc:
        raise ReportError(f"not valid XML: {exc}", where=path) from exc
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    seconds = 0.0
    bad: list[str] = []
    for case in root.iter("testcase"):
        kinds = {child.tag for child in case}
        result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts[result] += 1
        seconds += _number(case.get("time")) or 0.0
        if result == "failed" and len(bad) < _ROWS:
            bad.append(f"{case.get('classname', '')}::{case.get('name', '')}")
    if not sum(counts.values()):
        raise ReportError("has no tests", where=path)
    return Suite(name, counts["passed"], counts["failed"], counts["skipped"], seconds, tuple(bad))


def _take(found: Figures, value: Any) -> None:
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == "sizes":
        sizes = value.get("sizes")
        for name, size in sizes.items() if isinstance(sizes, dict) else ():
            if (
                isinstance(size, int)
                and not isinstance(size, bool)
                and 0 <= size < 1 << 60
                and len(found.sizes) < _ROWS
            ):
                found.sizes[str(name)] = size
    elif kind == "quality":
        for one in _objects(value.get("results")):
            perplexity = _number(one.get("perplexity"))
            if perplexity is not None and perplexity > 0 and len(found.quality) < _ROWS:
                key = (str(one.get("model")), str(one.get("scheme")))
                judged = Quality(
                    perplexity, _number(one.get("change")), _number(one.get("bar")), one.get("passed") is True
                )
                found.quality[key] = judged
    elif kind == "gate":
        models = value.get("models")
        for model, changes in models.items() if isinstance(models, dict) else ():
            for one in _objects(changes):
                numbers = [_number(one.get(key)) for key in ("baseline", "candidate", "worse")]
                if None not in numbers and len(found.speed) < _ROWS:
                    old, new, worse = (float(number or 0) for number in numbers)
                    regressed = one.get("regressed") is True
                    found.speed.append(Speed(str(model), str(one.get("metric")), old, new, worse, regressed))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    yield from (one for one in (value if isinstance(value, list) else ()) if isinstance(one, dict))


def _number(value: Any) -> float | None:
    """A finite number; None for what is none."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) < 1e15 else None
