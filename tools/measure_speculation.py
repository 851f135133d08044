"""Measures decoding with prompt-lookup drafts against decoding without, in turns; prints a table in Markdown.

    python tools/measure_speculation.py [MODEL]            default: the built-in model

A free story, of which little can be guessed, and an object whose JSON schema forces most of it. Texts with and without
drafts are compared; the speed is the median over rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from lilims.models import resolve
from lilims.runtime import Model, load
from lilims.runtime.constrained import json_schema
from lilims.runtime.speculative import Speculator

NAMES = [f"number_of_{what}" for what in ("friends", "brothers", "sisters", "animals")]
NUMBER = {"type": "integer", "minimum": 0, "maximum": 99}
SCHEMA: dict[str, Any] = {
    "type": "object", "properties": dict.fromkeys(NAMES, NUMBER), "required": NAMES, "additionalProperties": False,
}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "a free story": ("Once upon a time", {"ignore_eos": True}),
    "JSON by a schema": ("Lily is", {"schema": SCHEMA}),
}
TOKENS = 120


def decode(
    model: Model, prompt: str, options: dict[str, Any], drafter: Speculator | None
) -> tuple[list[int], float, Any]:
    """The ids, the seconds a token after the first, and the statistics."""
    rest = {key: value for key, value in options.items() if key != "schema"}
    if "schema" in options:
        rest["constraint"] = json_schema(options["schema"], model.tokenizer)
    begun = time.perf_counter()
    stream = model.generate(prompt, max_tokens=TOKENS, temperature=0, drafter=drafter, **rest)
    ids = [token.id for token in stream]
    seconds = time.perf_counter() - begun - stream.statistics.time_to_first_token
    return ids, seconds / max(1, len(ids) - 1), stream.statistics


def row(model: Model, case: str, drafter: Callable[[], Speculator], rounds: int) -> str:
    prompt, options = CASES[case]
    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds + 1):  # the first one warms up
        plain, taken, _ = decode(model, prompt, options, None)
        drafted, with_drafts, statistics_ = decode(model, prompt, options, drafter())
        if plain != drafted:
            raise SystemExit(f"{case}: the texts differ")
        if number:
            times[False].append(taken)
            times[True].append(with_drafts)
    ratios = sorted(a / b for a, b in zip(times[False], times[True], strict=True))
    share = (
        "none drafted"
        if statistics_.acceptance is None
        else f"{statistics_.accepted_tokens} of {statistics_.drafted_tokens}"
    )
    speed = f"{1 / statistics.median(times[False]):.0f} | {1 / statistics.median(times[True]):.0f}"
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return f"| {case} | {len(plain)} | {speed} | {share} | {spread} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="stories")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    model = load(resolve(options.model), executor="portable", precision="exact")
    most = model.shape.functions["score"] - 1
    print("| text | tokens | tokens/s | with drafts | accepted | ratio |\n|---|---:|---:|---:|---:|---:|")
    for case in CASES:
        print(row(model, case, lambda: Speculator(most=most), options.rounds), flush=True)


if __name__ == "__main__":
    main()
