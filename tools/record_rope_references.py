"""Records the rotary frequencies of transformers for the default test suite of ws03.

Run in an environment with torch and transformers:

    python tools/record_rope_references.py

It writes workstreams/ws03-context-window/tests/data/rope.json with the versions that it used.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "workstreams" / "ws03-context-window" / "tests"
LENGTHS = (None, 512, 8192)


def rules() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The configs of the tests, from their conftest.py."""
    spec = importlib.util.spec_from_file_location("rope_cases", TESTS / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BASE, module.SCALINGS


def main() -> None:
    """Computes every rule at every length and writes the file."""
    import torch
    import transformers
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    from lilims.core.files import write_json

    base, scalings = rules()
    recorded: dict[str, Any] = {}
    for name, scaling in scalings.items():
        recorded[name] = {}
        for length in LENGTHS:
            config = transformers.LlamaConfig(**base, rope_scaling=dict(scaling) or None)
            kind = config.rope_parameters["rope_type"]
            compute = ROPE_INIT_FUNCTIONS.get(kind, LlamaRotaryEmbedding.compute_default_rope_parameters)
            frequencies, factor = compute(config, seq_len=length)
            recorded[name][str(length)] = {"attention_factor": factor, "frequencies": frequencies.tolist()}
    target = TESTS / "data" / "rope.json"
    target.parent.mkdir(exist_ok=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    write_json(target, {"versions": versions, "rules": json.loads(json.dumps(recorded))})
    print(f"{target}: {len(recorded)} rules at {len(LENGTHS)} lengths, {versions}")


if __name__ == "__main__":
    main()
