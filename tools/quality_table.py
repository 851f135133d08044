"""The table of the built-in model in docs/quality.md: `python tools/quality_table.py [--measure]`.

--measure converts the built-in checkpoint with each scheme, evaluates every package on the whole built-in text against
fp16, and records the figures, with what they are of, in tools/results/quality.json; minutes. Without it only the table
is written anew, from that file: `tools/generated_pages.py --check quality` holds the page against it.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "quality.json"
SCHEMES = ("int8", "lut6-r16", "int4", "lut4-r8")
HEAD = """\
| scheme | bits per weight | perplexity | change, 95 % | divergence, mean | 99 % | same token |
|---|---|---|---|---|---|---|
"""


def measure() -> dict[str, Any]:
    """The record: versions, the text, and what `lilims eval` says of each scheme."""
    from lilims.conversion import convert, evaluate
    from lilims.core.manifest import read_manifest
    from lilims.models import builtin_checkpoint

    versions = {name: version(name) for name in ("onnxruntime", "numpy", "coremltools")}
    record: dict[str, Any] = {"versions": {"Python": platform.python_version(), **versions}, "schemes": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = convert(builtin_checkpoint(), folder / "fp16", quantize="fp16").folder
        for scheme in SCHEMES:
            model = convert(builtin_checkpoint(), folder / scheme, quantize=scheme).folder
            summary = evaluate(model, "builtin", reference=reference).summary
            assert summary.comparison is not None
            record["schemes"][scheme] = {
                "bits_per_weight": read_manifest(model).quantization.bits_per_weight,
                "perplexity": summary.perplexity,
                "perplexity_error": summary.perplexity * summary.nll.error,
                "tokens": summary.tokens,
                "reference": summary.comparison.figures(),
            }
            print(scheme, record["schemes"][scheme], file=sys.stderr, flush=True)
    return record


def table() -> str:
    """The recorded figures as the page has them."""
    record = json.loads(RESULTS.read_text("utf-8"))
    text = HEAD + "".join(_row(scheme, figures) for scheme, figures in record["schemes"].items())
    one = next(iter(record["schemes"].values()))
    made_with = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    about = f"{one['tokens']:,} tokens; fp16 has a perplexity of {one['reference']['perplexity']:.4f}. {made_with}."
    return f"{text}\n{about}\n"


def _row(scheme: str, figures: dict[str, Any]) -> str:
    against = figures["reference"]
    ratio, error = against["log_ratio"], 1.96 * against["log_ratio_error"]
    change, low, high = (f"{100 * math.expm1(x):+.2f}".replace("-", "−") for x in (ratio, ratio - error, ratio + error))
    cells = [
        scheme,
        f"{figures['bits_per_weight']:.2f}",
        f"{figures['perplexity']:.4f} ± {figures['perplexity_error']:.4f}",
        f"{change} % ({low} to {high})",
        f"{against['divergence']:.5f}",
        f"{against['divergence_p99']:.4f}",
        f"{100 * against['same_top']:.2f} %",
    ]
    return f"| {' | '.join(cells)} |\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure first, and record it")
    if parser.parse_args(arguments).measure:
        text = json.dumps(measure(), indent=1)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text + "\n", "utf-8", newline="\n")
    import generated_pages

    return generated_pages.main(["quality"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
