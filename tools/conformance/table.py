"""Writes docs/conformance.md: of coremltools' own tests of operators, how many the portable executor passes.

    hatch run conformance:table conformance.jsonl   results of a whole run: into results.json, and from there the table
    hatch run conformance:table                     the table again, from results.json

Several files of results are parts of one run; of a test that two of them have, the later file's outcome counts.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file, its package's parent is not on the path
    sys.path.insert(0, str(Path(__file__).parents[1]))

from conformance.records import SUMMARY, Counts, Results, by_class, read_summary

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"
# Why a class is not whole. A class that becomes whole loses its line here.
WHY: dict[str, str] = {
    "iOS15/TestCropResize": "`sampling_mode` UNALIGN_CORNERS: the grid within a box is not documented, and the one "
    "example, a box outside the image, gives the whole image",
}
HEAD = """\
# Conformance

Written by `tools/conformance/table.py`; do not edit. coremltools' own tests of its operators build ML Programs and
compare what Core ML predicts with numpy or torch. A plugin of pytest runs them against the portable executor
(`lilims.runtime.portable.MLModel`) on any platform:

    hatch run conformance:sample     one test in twenty, minutes; --sample-offset K takes others
    hatch run conformance:whole      all; goes on where it was stopped, its results in conformance.jsonl
    hatch run conformance:table conformance.jsonl

A test counts if it asked for a prediction of an ML Program. Tests of the old neuralnetwork format do not, and tests
that coremltools itself skips or that need TensorFlow (of `non_maximum_suppression`, say) are not in the figures: the
executor's own tests compare such ops with numpy. Random ops are compared by their distribution. The opset is the
folder of the test: the operator's form that came with it, which newer programs use too.

What runs here is ONNX Runtime on a CPU, in float32 where a device computes in fp16. Agreement with numpy and torch
within coremltools' tolerances is shown; bits are not those of a device.
"""


def percent(passed: int, total: int) -> str:
    return f"{100 * passed / total:.2f} %"


def render(versions: Mapping[str, Any], classes: Mapping[str, Counts]) -> str:
    """The document."""
    passed = sum(counts.passed for counts in classes.values())
    total = passed + sum(counts.failed for counts in classes.values())
    whole = sum(1 for counts in classes.values() if not counts.failed)
    made_with = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [
        HEAD,
        f"**{passed} of {total} tests pass ({percent(passed, total)}), {whole} of {len(classes)} classes whole "
        f"({percent(whole, len(classes))})**, with {made_with}.\n",
    ]
    broken = {name: counts for name, counts in classes.items() if counts.failed}
    if broken:
        lines += ["## What fails\n", "| opset | tests of | failed | why |", "|---|---|---|---|"]
        for name, counts in broken.items():
            opset, _, tested = name.partition("/")
            why = WHY.get(name) or "; ".join(counts.reasons)
            lines.append(f"| {opset} | {_title(tested)} | {counts.failed} of {counts.passed + counts.failed} | {why} |")
        lines.append("")
    lines += ["## All classes\n", "| opset | tests of | passed |", "|---|---|---|"]
    for name, counts in classes.items():
        opset, _, tested = name.partition("/")
        lines.append(f"| {opset} | {_title(tested)} | {counts.passed} of {counts.passed + counts.failed} |")
    return "\n".join(lines) + "\n"


def _title(name: str) -> str:
    return name.removeprefix("Test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, help="files of JSON lines")
    given = parser.parse_args().results
    if given:
        missing = [str(path) for path in given if not path.exists()]
        if missing:
            parser.error(f"there is no file {missing[0]}")
        versions = {"Python": platform.python_version()}
        versions |= {name: version(name) for name in ("coremltools", "onnxruntime", "onnx", "numpy", "torch")}
        classes = {name: asdict(counts) for name, counts in by_class([Results(path) for path in given]).items()}
        text = json.dumps({"versions": versions, "classes": classes}, indent=1, ensure_ascii=False)
        SUMMARY.write_text(text + "\n", encoding="utf-8")
    DOCUMENT.write_text(render(*read_summary()), encoding="utf-8")


if __name__ == "__main__":
    main()
