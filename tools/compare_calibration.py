"""Compares ways to round to four bits, in view of a text and without one; prints tables in Markdown.

    hatch run python tools/compare_calibration.py [--models stories stories260K] [--tokens 8192]

All calibrate on what the model itself writes. Measured is the model with the rounded matrices, in float32, on texts of
the quality gate (tools/ci/quality_gate.py), which are others.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ci.quality_gate import SUBJECTS
from lilims.conversion import convert
from lilims.conversion.budget.trial import Trial, TrialWork
from lilims.conversion.calibration import SELF, Windows, calibration_windows
from lilims.conversion.calibration.chain import Chain, Knobs
from lilims.conversion.calibration.opened import Floats, OpenedModel
from lilims.conversion.evaluation.windows import Window
from lilims.conversion.policy.plan import Plan, make_plan, read_wishes
from lilims.conversion.prepare import Prepared, prepare
from lilims.conversion.quantize import quantize
from lilims.conversion.stored import Stored
from lilims.conversion.weights.tensors import whole
from lilims.runtime import load

__all__ = ["ROWS", "Row", "main", "rounded"]


@dataclass(frozen=True)
class Row:
    """A way to round: its name, the scheme, and what of the calibration is used; None reads no text."""

    name: str
    scheme: str
    knobs: Knobs | None = None


ROWS = (
    Row("round to nearest", "int4-rtn"),
    Row("scales searched for", "int4-search"),
    Row("…, errors weighted by channel", "int4-search", Knobs()),
    Row("…, and channels scaled (AWQ, `int4-awq`)", "int4-awq", Knobs()),
    Row("GPTQ", "int4-gptq", Knobs(compensate=False, sweeps=0)),
    Row("…, and two sweeps", "int4-gptq", Knobs(compensate=False)),
    Row("…, and earlier errors made up for (`--calibrate`)", "int4-gptq", Knobs()),
    Row("one scale a row, round to nearest", "int4-channel-rtn"),
    Row("one scale a row, `--calibrate`", "int4-channel-gptq", Knobs()),
    Row("tables by k-means", "lut4-r8-kmeans"),
    Row("…, errors weighted by channel", "lut4-r8-kmeans", Knobs()),
    Row("…, `--calibrate`", "lut4-r8-gptq", Knobs()),
)


def rounded(
    row: Row, given: Prepared, windows: Windows, context: int
) -> tuple[Mapping[str, Stored], Mapping[str, Floats]]:
    """Every matrix of a model, rounded in that way: as it is stored, and what it is."""
    wishes = read_wishes(row.scheme, calibrated=True)
    plan = make_plan(wishes, given.spec, given.names)
    if row.knobs is None:
        made = {role: _alone(given, plan, role) for role, shape in given.spec.roles() if _is_rounded(plan, role, shape)}
        return made, {role: stored.dequantize() for role, stored in made.items()}
    with closing(OpenedModel(given, plan, windows.size, context)) as opened:
        chain = Chain(opened, plan, windows.ids, row.knobs)
        stored = chain.all()
        matrices = chain.matrices(stored)
        return {role: one for role, one in stored.items() if len(one.shape) == 2}, matrices


def _is_rounded(plan: Plan, role: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and plan.scheme_of(role).kind != "fp16"


def _alone(given: Prepared, plan: Plan, role: str) -> Stored:
    values = whole(given, plan, role)
    return quantize(values, plan.scheme_of(role).fitted(values.shape), name=given.names[role])


def trial_of(given: Prepared, source: Path, ids: Sequence[int], window: int) -> Trial:
    """The model, ready to be measured on a text."""
    plan = make_plan(read_wishes("int4"), given.spec, given.names)
    count = len(ids) // window
    windows = tuple(Window(i, i * window, tuple(ids[i * window : (i + 1) * window]), 0) for i in range(count))
    return TrialWork(
        source, (), given.checkpoint.sha256, 1.0, plan, windows, given.spec.max_positions, threads=1
    ).open()


def compare(name: str, tokens: int, rows: Sequence[Row] = ROWS) -> None:
    """Prints the table of a model."""
    subject = SUBJECTS[name]
    given = prepare(subject.checkpoint)
    context = min(given.spec.max_positions, 512)
    as_it_is = partial(convert, subject.checkpoint, quantize="fp16", context=context)
    windows = calibration_windows(SELF, given, context, tokens, as_it_is)
    with tempfile.TemporaryDirectory() as scratch:
        model = load(as_it_is(Path(scratch) / "m").folder)
        ids = subject.ids(model)[: subject.tokens]
    trial = trial_of(given, subject.checkpoint, ids, subject.window)
    print(f"\n`{name}`, {windows.tokens} tokens to calibrate on, {len(ids)} to measure on\n")
    print("| method | bits per matrix weight | perplexity | divergence |\n|---|---:|---:|---:|")
    for row in rows:
        made, matrices = rounded(row, given, windows, context)
        figures = trial.measure(matrices)
        sizes = {role: prod(stored.shape) for role, stored in made.items()}
        bits = sum(stored.bits * sizes[role] for role, stored in made.items()) / sum(sizes.values())
        change = f"{figures.change:+.2%} ± {figures.log_ratio_error:.2%}"
        print(f"| {row.name} | {bits:.2f} | {change} | {figures.divergence:.4f} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--models", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--tokens", type=int, default=8192, help="to calibrate on")
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose scheme has this in it")
    options = parser.parse_args(arguments)
    for name in options.models:
        compare(name, options.tokens, [row for row in ROWS if options.only in row.scheme])


if __name__ == "__main__":
    main()
