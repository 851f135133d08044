"""Convert, load, generate through Core ML: `hatch run python tools/ci/macos_integration.py [--require-coreml]`.

Converts the built-in model, generates 20 greedy tokens with the portable executor in float32, and lets Core ML do the
same on the CPU (hosted macOS machines have no neural engine). Passes if the logits along the way differ by less than
2 % of their standard deviation and the tokens are the same, or part only where two logits are closer than twice that
difference. Where there is no Core ML, the portable executor's fp16 stands in for it, and a line says so.
Knows the public functions of lilims alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from lilims.conversion import convert
from lilims.runtime import Model, load

PROMPT = "Once upon a time"
TOKENS = 20
TOLERANCE = 0.02  # RMS of the difference, as a share of the logits' standard deviation


def greedy(model: Model, prompt: list[int]) -> list[int]:
    """Ids of the greedy continuation; prints what it says and how long it took."""
    start = time.perf_counter()
    tokens = list(model.generate(prompt, max_tokens=TOKENS, ignore_eos=True, temperature=0))
    seconds = time.perf_counter() - start
    print(f"  {model.executor}: {seconds:.2f} s: {''.join(token.text for token in tokens)!r}")
    return [token.id for token in tokens]


def agrees(reference: Model, candidate: Model) -> bool:
    """Whether `candidate` computes what `reference` does, along the reference's greedy continuation."""
    prompt = reference.tokenizer.encode(PROMPT)
    expected_ids, ids = greedy(reference, prompt), greedy(candidate, prompt)
    sequence = prompt + expected_ids[:-1]
    expected = reference.step_logits(sequence, prefill=len(prompt))  # row i chooses expected_ids[i]
    error = float(np.sqrt(np.mean((candidate.step_logits(sequence, prefill=len(prompt)) - expected) ** 2)))
    share = error / float(expected.std())
    print(f"  RMS difference of the logits: {share:.2%} of their standard deviation (at most {TOLERANCE:.0%})")
    if not share < TOLERANCE:
        return False
    for step, (wanted, got) in enumerate(zip(expected_ids, ids, strict=True)):
        if wanted != got:
            gap = float(expected[step, wanted] - expected[step, got])
            print(
                f"  token {step}: {got}, not {wanted}; their logits are {gap:.4f} apart, the difference is {error:.4f}"
            )
            return gap < 2 * error
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--require-coreml", action="store_true", help="fail where Core ML cannot run")
    coreml = sys.platform == "darwin"
    if parser.parse_args().require_coreml and not coreml:
        print("Core ML was required, and this is not macOS", file=sys.stderr)
        return 1
    failed = []
    for form in ("fp16", "int8", "int4"):
        with (
            tempfile.TemporaryDirectory() as work,
            as_file(files("lilims.models").joinpath("builtin", "stories")) as checkpoint,
        ):
            print(f"{form}:")
            folder = convert(checkpoint, Path(work, form), quantize=form).folder
            reference = load(folder, executor="portable", precision="exact")
            if coreml:
                candidate = load(folder, executor="coreml", compute_units="CPU_ONLY")
            else:
                candidate = load(folder, executor="portable", precision="fp16")
            if not agrees(reference, candidate):
                failed.append(form)
            del reference, candidate  # Windows cannot remove a folder whose files are mapped
    if not coreml:
        print("Core ML was not run: this is not macOS; the portable executor's fp16 stood in for it")
    print(f"differs: {', '.join(failed)}" if failed else "agrees")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
