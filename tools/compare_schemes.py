"""What schemes cost: bits, perplexity and distance from fp16 of the packages themselves, as a Markdown table.

    python tools/compare_schemes.py [--models stories stories260K] [--windows 16] [--keep FOLDER] [SCHEME …]

Models and texts are the quality gate's. Knows what a row is made of. Must not know how a package is made, nor how two
are compared. The divergence is KL(fp16 ‖ scheme) in nats, the mean over all tokens but the first of each window: it
moves where perplexity, which a coarse model may lower by chance on one text, stands still.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ci.quality_gate import SUBJECTS, Subject, error_by_window
from lilims.conversion import convert
from lilims.conversion.evaluation.measure import evaluate_ids
from lilims.conversion.evaluation.sources import PackageSpec
from lilims.runtime import load

__all__ = ["SCHEMES", "Row", "compare", "main"]

SCHEMES = (
    "int8", "int8-channel", "lut6-r16", "int4-asym-search", "int4-asym", "int4-g16-search", "int4-g16", "int4-search",
    "int4", "lut4-r8", "lut4-r16", "lut4", "int4-channel-search", "int4-channel", "lut3-r8",
)  # fmt: skip


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


def compare(subject: Subject, schemes: Sequence[str], windows: int, packages: Path) -> list[Row]:
    """Converts to fp16 and to each scheme (unless `packages` has it), and compares them exactly executed."""

    def package(scheme: str) -> Path:
        folder = packages / scheme
        if not folder.exists():
            convert(subject.checkpoint, folder, quantize=scheme, name=scheme)
        return folder

    base = PackageSpec(package("fp16"))
    ids = subject.ids(load(base.folder))[: windows * subject.window]
    rows = []
    for scheme in schemes:
        model = PackageSpec(package(scheme))
        found = evaluate_ids(model, ids, reference=base, context=subject.window, kind="all")
        against = found.summary.comparison
        assert against is not None
        losses = found.scores.nll - found.scores.reference_nll
        rows.append(
            Row(
                scheme=scheme,
                bits=model.manifest.quantization.bits_per_weight,
                change=against.change,
                error=(1 + against.change) * error_by_window(losses, subject.window),
                divergence=against.divergence.value,
                agreement=against.same_top.value,
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
