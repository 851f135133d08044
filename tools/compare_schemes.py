"""What schemes cost: bits, perplexity and distance from fp16 of the packages themselves, as a Markdown table.

    python tools/compare_schemes.py [--models stories stories260K] [--windows 16] [--keep FOLDER] [SCHEME …]

Models and texts are the quality gate's. Knows how two packages' logits are compared. Must not know how either is made.
The divergence is KL(fp16 ‖ scheme) in nats, the mean over all positions: it moves where perplexity, which a coarse
model may lower by chance on one text, stands still.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ci.quality_gate import SUBJECTS, Subject
from lilims.conversion import convert
from lilims.runtime import Model, load

__all__ = ["SCHEMES", "Row", "compare", "main"]

SCHEMES = (
    "int8", "int8-channel", "lut6-r16", "int4-asym-search", "int4-asym", "int4-g16-search", "int4-g16", "int4-search",
    "int4", "lut4-r8", "lut4-r16", "lut4", "int4-channel-search", "int4-channel", "lut3-r8",
)  # fmt: skip

Logs = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Row:
    """One scheme: bits per weight, change of perplexity and its standard error, divergence, share of equal top-1."""

    scheme: str
    bits: float
    change: float
    error: float
    divergence: float
    agreement: float

    def __str__(self) -> str:
        return (
            f"| {self.scheme} | {self.bits:.2f} | {self.change:+.1%} ± {self.error:.1%} | {self.divergence:.4f} "
            f"| {self.agreement:.1%} |"
        )


def log_probabilities(model: Model, subject: Subject, windows: int) -> tuple[Logs, NDArray[np.float64]]:
    """Of every next token, [window, vocabulary] for each window; and each window's mean loss in nats."""
    ids, logs, losses = subject.ids(model), [], []
    for first in range(0, min(windows, len(ids) // subject.window) * subject.window, subject.window):
        part = ids[first : first + subject.window]
        wide = model.logits(part).astype(np.float64)
        wide -= wide.max(axis=1, keepdims=True)
        wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
        losses.append(-float(wide[np.arange(len(part) - 1), part[1:]].mean()))
        logs.append(wide.astype(np.float32))
    return logs, np.array(losses)


def compare(subject: Subject, schemes: Sequence[str], windows: int, packages: Path) -> list[Row]:
    """Converts to fp16 and to each scheme (unless `packages` has it), and compares them exactly executed."""

    def package(scheme: str) -> Model:
        folder = packages / scheme
        if not folder.exists():
            convert(subject.checkpoint, folder, quantize=scheme, name=scheme)
        return load(folder, precision="exact")

    wanted, base = log_probabilities(package("fp16"), subject, windows)
    rows = []
    for scheme in schemes:
        model = package(scheme)
        found, losses = log_probabilities(model, subject, windows)
        change = float(np.exp((losses - base).mean())) - 1
        rows.append(
            Row(
                scheme=scheme,
                bits=model.manifest.quantization.bits_per_weight,
                change=change,
                error=(1 + change) * float((losses - base).std(ddof=1)) / len(losses) ** 0.5,
                divergence=float(np.mean([(np.exp(a) * (a - b)).sum(1) for a, b in zip(wanted, found, strict=True)])),
                agreement=float(np.mean([a.argmax(1) == b.argmax(1) for a, b in zip(wanted, found, strict=True)])),
            )
        )
    return rows


def main() -> None:
    """Prints a table for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("schemes", nargs="*", metavar="SCHEME", default=SCHEMES)
    parser.add_argument("--models", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--keep", type=Path, help="make packages in this folder, and take those that are there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lilims-schemes-") as scratch:
        for name in options.models:
            rows = compare(SUBJECTS[name], options.schemes, options.windows, (options.keep or Path(scratch)) / name)
            print(f"\n{name}\n\n| scheme | bits per weight | perplexity | divergence | same top-1 |")
            print("|---|---|---|---|---|", *rows, sep="\n", flush=True)


if __name__ == "__main__":
    main()
