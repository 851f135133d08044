"""Cases of generating: what comes out of `Model.generate` and how good it is.

Knows what a user calls. Must not know how it is done. Tokens may part from the exact executor's where two of its logits
are no further apart than twice the largest difference: fp16 cannot tell them apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .comparing import DECODER, judge, logit_differences
from .pairs import Pair, open_pair
from .rungs import Finding, Target

__all__ = [
    "end_of_text",
    "generate_fp16",
    "generate_int4",
    "generate_int8",
    "isolated",
    "perplexity",
    "sampling",
    "stop_strings",
]

_PROMPT, _TOKENS = "Once upon a time", 24
_WINDOW, _WINDOWS = 128, 6
_PERPLEXITY = 0.005


def generate_fp16(target: Target) -> Finding:
    """Greedy text of the fp16 package."""
    return _generated(target, "fp16")


def generate_int8(target: Target) -> Finding:
    """Greedy text of the int8 package."""
    return _generated(target, "int8")


def generate_int4(target: Target) -> Finding:
    """Greedy text of the int4 package."""
    return _generated(target, "int4")


def _generated(target: Target, form: str) -> Finding:
    """Logits along the exact executor's text, and whether the other one says the same."""
    pair = open_pair(target, form)
    prompt = pair.wanted.tokenizer.encode(_PROMPT)
    expected, ids = greedy(pair.wanted, prompt), greedy(pair.found, prompt)
    sequence = prompt + expected[:-1]
    wanted = pair.wanted.step_logits(sequence, prefill=len(prompt))  # row i chooses expected[i]
    figures = logit_differences(pair.found.step_logits(sequence, prefill=len(prompt)), wanted)
    found = judge(figures, DECODER, f"{len(ids)} tokens")
    parts = next((i for i, (a, b) in enumerate(zip(expected, ids, strict=True)) if a != b), None)
    if parts is None:
        return found
    gap = float(wanted[parts, expected[parts]] - wanted[parts, ids[parts]])
    near = 0 <= gap <= 2 * figures["max"]
    what = f"{found.what}; token {parts} is another, its logit {gap:.4f} lower"
    return Finding(found.passed and near, what, figures)


def greedy(model: Any, prompt: list[int], **options: Any) -> list[int]:
    """Ids of the greedy continuation."""
    return [t.id for t in model.generate(prompt, max_tokens=_TOKENS, ignore_eos=True, temperature=0, **options)]


def perplexity(target: Target) -> Finding:
    """The same windows of unseen text through `score`."""
    pair = open_pair(target, "int4")
    blocks: list[tuple[Any, Any]] = []
    losses: list[tuple[float, float]] = []
    for start in range(0, _WINDOWS * _WINDOW, _WINDOW):
        ids = pair.text[start : start + _WINDOW]
        found, wanted = pair.found.logits(ids[:-1]), pair.wanted.logits(ids[:-1])
        blocks.append((found, wanted))
        losses.append((_loss(found, ids), _loss(wanted, ids)))
    figures = logit_differences(*(np.concatenate(part) for part in zip(*blocks, strict=True)))
    one, other = (float(np.exp(np.mean(part))) for part in zip(*losses, strict=True))
    figures |= {"perplexity": one, "exact_perplexity": other}
    change = one / other - 1
    what = f"perplexity {one:.4f} against {other:.4f}, {change:+.3%} (bar {_PERPLEXITY:.1%})"
    passed = abs(change) < _PERPLEXITY and figures["rms_share"] < DECODER
    return Finding(bool(passed), what, figures)


def _loss(logits: Any, ids: list[int]) -> float:
    """Mean of −ln p of each token but the first."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    logs = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return float(-logs[np.arange(len(ids) - 1), ids[1:]].mean())


def stop_strings(target: Target) -> Finding:
    """A text that is ended before a string which it would contain, within a token or not."""
    model = open_pair(target).found
    whole = model.generate(_PROMPT, max_tokens=_TOKENS, ignore_eos=True, temperature=0).text()
    stop = whole[len(whole) // 2 : len(whole) // 2 + 5]
    ended = model.generate(_PROMPT, max_tokens=_TOKENS, ignore_eos=True, temperature=0, stop=[stop])
    text, reason = ended.text(), ended.statistics.finish_reason
    good = text == whole[: whole.index(stop)] and reason == "stop"
    return Finding(good, f"{reason} before {stop!r} behind {len(text)} characters")


def end_of_text(target: Target) -> Finding:
    """The end of a text is heard: with its logit raised, the first token is the last."""
    model = open_pair(target).found
    eos = model.manifest.tokens.eos[0]
    ended = model.generate(_PROMPT, max_tokens=_TOKENS, temperature=0, logit_bias={eos: 1000.0})
    text, seen = ended.text(), ended.statistics
    good = text == "" and seen.finish_reason == "stop" and seen.generated_tokens == 1
    return Finding(good, f"{seen.finish_reason} behind {seen.generated_tokens} token")


def sampling(target: Target) -> Finding:
    """A seed gives the same text again, another seed another; a forbidden token does not come."""
    pair = open_pair(target)
    drawn = {seed: [_drawn(pair.found, seed) for _ in range(2)] for seed in (1, 2)}
    own = _drawn(pair.wanted, 1)
    shared = next((i for i, (a, b) in enumerate(zip(own, drawn[1][0], strict=True)) if a != b), len(own))
    forbidden = greedy(pair.found, pair.text[:8])[0]
    left = greedy(pair.found, pair.text[:8], logit_bias={forbidden: float("-inf")})
    problems = [f"seed {seed} gives two texts" for seed, (one, other) in drawn.items() if one != other]
    problems += ["two seeds give one text"] * (drawn[1][0] == drawn[2][0])
    problems += ["a forbidden token came"] * (forbidden in left)
    what = "; ".join(problems) or f"seeds repeat; the exact executor's text shares the first {shared} tokens"
    return Finding(not problems, what, {"shared": shared})


def _drawn(model: Any, seed: int) -> list[int]:
    options: dict[str, Any] = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "seed": seed}
    return [token.id for token in model.generate(_PROMPT, max_tokens=_TOKENS, ignore_eos=True, **options)]


def isolated(target: Target) -> Finding:
    """A model in a process of its own says the same."""
    pair: Pair = open_pair(target)
    apart = open_pair(target, isolate=True)
    prompt = pair.found.tokenizer.encode(_PROMPT)
    one, other = greedy(pair.found, prompt), greedy(apart.found, prompt)
    same = sum(a == b for a, b in zip(one, other, strict=True))
    return Finding(one == other, f"{same} of {len(one)} tokens are the same", {"tokens": len(one)})
