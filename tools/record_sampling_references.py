"""Records the distributions of transformers' logits processors for the default test suite of ws02.

Run in an environment with torch and transformers:

    python tools/record_sampling_references.py

It writes workstreams/ws02-runtime/tests/data/sampling.json with the versions that it used.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1] / "workstreams" / "ws02-runtime" / "tests"
SEEDS = (1, 2)


def load_cases() -> Any:
    """The settings, from tests/sampling/cases.py."""
    spec = importlib.util.spec_from_file_location("sampling_cases", TESTS / "sampling" / "cases.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Computes every setting for every seed and writes the file."""
    import torch
    import transformers

    from lilims.core.files import write_json

    cases = load_cases()
    recorded: dict[str, Any] = {}
    for name, parameters in cases.CASES.items():
        recorded[name] = {}
        for seed in SEEDS:
            shares = cases.theirs(parameters, cases.logits(seed))
            tokens = np.flatnonzero(shares)
            recorded[name][str(seed)] = {
                "tokens": tokens.tolist(),
                "shares": [float(f"{s:.12g}") for s in shares[tokens]],
            }
    target = TESTS / "data" / "sampling.json"
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    write_json(target, {"versions": versions, "cases": recorded})
    print(f"{target}: {len(recorded)} settings, {len(SEEDS)} distributions each, {versions}")


if __name__ == "__main__":
    main()
